//! The service's three calls: Twirp (twitchtv.github.io/twirp/docs/spec_v7.html) in JSON.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use reqwest::Response;
use serde_json::{Value, json};
use url::Url;

use super::answer::{Answer, Failure, SignedUrl};
use super::error::{Call, Denial, Error};
use super::key::EntryKey;
use super::limiter::Limiter;
use super::mode::Mode;
use super::token::Token;
use crate::address::AddressPolicy;
use crate::body;
use crate::connection::Connection;
use crate::memory;
use crate::ratelimit::retry_after;
use crate::request::{Authorization, Reach, Redirects, Request};
use crate::transport::Transport;

/// How long a 429 to a creation or to the end of an upload is waited for altogether. A look-up is not worth a wait: the
/// registry has the same bytes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same when the job ends: what is not saved then, a later job saves.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);
/// How long a 429 without `Retry-After` stands: the limits are of a minute.
const UNTOLD: Duration = Duration::from_secs(60);
/// How often it is looked whether the job ends meanwhile.
const PAUSE: Duration = Duration::from_millis(500);
/// How long nothing is looked up after the service could not be reached, or gave nothing in time.
const AWAY: Duration = Duration::from_secs(30);
/// How long a call may take that must not be sent twice: what it did is not known without its answer.
const ONCE: Duration = Duration::from_secs(30);
/// With whom it shares the memory for answers.
const NAME: &str = "the Actions cache";
/// The longest answer, in bytes. A signed URL has some hundred.
const MAX_ANSWER: usize = 64 << 10;

/// Where the service is, and what the job may do there.
#[derive(Debug, Clone)]
pub struct Service {
    /// `ACTIONS_RESULTS_URL`.
    pub results_url: Url,
    /// `ACTIONS_RUNTIME_TOKEN`.
    pub token: Token,
    /// `ACTIONS_CACHE_MODE`.
    pub mode: Mode,
}

/// The service as this job knows it.
#[derive(Debug)]
pub(super) struct Calls {
    transport: Arc<Transport>,
    service: Service,
    may_not_read: OnceLock<Denial>,
    may_not_write: OnceLock<Denial>,
    look_ups: Limiter,
    creations: Limiter,
    finalizations: Limiter,
    /// Whether the job ends.
    ends: AtomicBool,
}

/// What a look-up found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: EntryKey,
    pub(super) url: SignedUrl,
}

/// What became of a creation.
#[derive(Debug)]
pub(super) enum Created {
    /// It may be uploaded to there, for an hour.
    At(SignedUrl),
    /// 409: it exists, or was reserved before.
    Taken,
}

impl Calls {
    pub(super) fn new(transport: Arc<Transport>, service: Service) -> Self {
        let denial = |by_mode: bool, by_token: bool| match (by_mode, by_token) {
            (false, _) => OnceLock::from(Denial::Mode),
            (true, false) => OnceLock::from(Denial::Scopes),
            (true, true) => OnceLock::new(),
        };
        let (mode, token) = (service.mode, &service.token);
        Self {
            transport,
            may_not_read: denial(mode.reads(), token.reads()),
            may_not_write: denial(mode.writes(), token.writes()),
            service,
            look_ups: Limiter::default(),
            creations: Limiter::default(),
            finalizations: Limiter::default(),
            ends: AtomicBool::new(false),
        }
    }

    /// From now on no 429 is waited for longer than [`PATIENCE_AT_END`], also by who waits already.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// How long something may be waited for altogether.
    pub(super) fn patience(&self) -> Duration {
        if self.ends.load(Ordering::Relaxed) { PATIENCE_AT_END } else { PATIENCE }
    }

    pub(super) const fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Why nothing may be looked up now.
    pub(super) fn read_refusal(&self) -> Option<Error> {
        let resting = |left| Error::Resting { call: Call::LookUp, left };
        let denied = self.may_not_read.get().map(|denial| Error::ReadDenied(*denial));
        denied.or_else(|| self.look_ups.closed_for(Instant::now()).map(resting))
    }

    /// Why nothing may be written.
    pub(super) fn write_refusal(&self) -> Option<Error> {
        self.may_not_write.get().map(|denial| Error::WriteDenied(*denial))
    }

    /// The newest entry of a version whose key is the first of `keys`, or begins with one of them.
    pub(super) async fn look_up(&self, keys: &[&str], version: &str) -> Result<Option<Found>, Error> {
        if let Some(refusal) = self.read_refusal() {
            return Err(refusal);
        }
        let Some((key, prefixes)) = keys.split_first() else { return Ok(None) };
        let question = json!({"key": key, "restore_keys": prefixes, "version": version});
        let answer = self.ask(Call::LookUp, &question).await;
        let found = answer.and_then(|answer| self.found(answer, version));
        if let Err(Error::Away(_)) = found {
            // Each further one would wait as long as this one did.
            self.rest();
        }
        found
    }

    /// Leaves the service alone for a while, as far as it is read: the registries have the same bytes.
    pub(super) fn rest(&self) {
        self.look_ups.close(Instant::now(), AWAY);
    }

    /// Reserves a key. It can be done once.
    pub(super) async fn create(&self, key: &EntryKey) -> Result<Created, Error> {
        let question = json!({"key": key.key(), "version": key.version()});
        match self.ask_patiently(Call::Create, &question).await {
            Ok(answer) if answer.ok => Ok(Created::At(self.signed(&answer.signed_upload_url)?)),
            Ok(_) => Err(Error::Refused { call: Call::Create, status: 200 }),
            Err(Error::Refused { status: 409, .. }) => Ok(Created::Taken),
            Err(error) => Err(error),
        }
    }

    /// Makes an entry of what was uploaded.
    pub(super) async fn finalize(&self, key: &EntryKey, size: u64) -> Result<(), Error> {
        // A number of 64 bits is a string in the JSON of protocol buffers.
        let size = size.to_string();
        let question = json!({"key": key.key(), "version": key.version(), "size_bytes": size});
        match self.ask_patiently(Call::Finalize, &question).await?.ok {
            true => Ok(()),
            false => Err(Error::Refused { call: Call::Finalize, status: 200 }),
        }
    }

    /// What an answer to a look-up says.
    fn found(&self, answer: Answer, version: &str) -> Result<Option<Found>, Error> {
        if !answer.ok {
            return Ok(None);
        }
        if answer.matched_key.is_empty() {
            return Err(crate::Error::invalid("a look-up is answered without a key").into());
        }
        // It is told to users; no key that hubcap has made has such.
        if answer.matched_key.contains(char::is_control) {
            return Err(crate::Error::invalid(
                "a look-up is answered with a key that has control characters",
            )
            .into());
        }
        let url = self.signed(&answer.signed_download_url)?;
        Ok(Some(Found { key: EntryKey::matched(answer.matched_key, version), url }))
    }

    /// Asks, and again after what a 429 asks to wait.
    async fn ask_patiently(&self, call: Call, question: &Value) -> Result<Answer, Error> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(refusal) = self.write_refusal() {
                return Err(refusal);
            }
            match self.limiter(call).closed_for(Instant::now()) {
                Some(left) if waited + left > self.patience() => return Err(Error::Resting { call, left }),
                Some(left) => {
                    tracing::debug!(target: "hubcap::upstream", "the Actions cache takes no {call} for {left:?}");
                    let pause = left.min(PAUSE);
                    waited += pause;
                    tokio::time::sleep(pause).await;
                }
                None => match self.ask(call, question).await {
                    Err(Error::RateLimited { .. }) => {}
                    answered => return answered,
                },
            }
        }
    }

    async fn ask(&self, call: Call, question: &Value) -> Result<Answer, Error> {
        let response = self.send(call, question).await?;
        if !response.status().is_success() {
            return Err(self.understand(call, response).await);
        }
        let bytes = body::whole(response, NAME, MAX_ANSWER, memory::PATIENCE).await?;
        let answer = Answer::read(&bytes)?;
        if answer.is_denial() {
            return Err(self.deny(call));
        }
        Ok(answer)
    }

    async fn send(&self, call: Call, question: &Value) -> Result<Response, crate::Error> {
        let path = format!("/twirp/github.actions.results.api.v1.CacheService/{}", call.method());
        let url = self.service.results_url.join(&path);
        let url = url.map_err(|_| crate::Error::invalid("ACTIONS_RESULTS_URL leads nowhere"))?;
        let json = HeaderValue::from_static("application/json");
        let headers: HeaderMap = [(header::CONTENT_TYPE, json)].into_iter().collect();
        let reach = Reach::Origin(url.origin());
        let authorization = Authorization { value: self.service.token.authorization()?, reach };
        let request = Request::new(Method::POST, url, headers, AddressPolicy::Any);
        let request = Request {
            authorizations: vec![authorization],
            body: Bytes::from(question.to_string()),
            redirects: Redirects::Return,
            ..request
        };
        match call {
            Call::LookUp => self.transport.send(request).await.map_err(Into::into),
            // A second one would find the key taken by the first.
            Call::Create | Call::Finalize => {
                self.transport.send_only_once(&request, Connection::Fresh, ONCE).await
            }
        }
    }

    /// What an answer means that is no success.
    async fn understand(&self, call: Call, response: Response) -> Error {
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        let told = body::whole(response, NAME, MAX_ANSWER, memory::PATIENCE).await.unwrap_or_default();
        let failure = Failure::read(&told);
        match status {
            _ if failure.is_of_space() => Error::Full,
            _ if failure.is_denial() => self.deny(call),
            401 => {
                // It has run out, or is for something else.
                self.deny(Call::LookUp);
                self.deny(call)
            }
            403 => self.deny(call),
            429 => {
                let retry_after = wait.unwrap_or(UNTOLD);
                self.limiter(call).close(Instant::now(), retry_after);
                Error::RateLimited { call, retry_after }
            }
            _ if failure.is_of_key() => Error::Refused { call, status: 409 },
            400..500 => Error::Refused { call, status },
            _ => Error::Away(crate::Error::Failed { status }),
        }
    }

    /// Notes that this is denied for the rest of the job.
    fn deny(&self, call: Call) -> Error {
        match call {
            Call::LookUp => Error::ReadDenied(*self.may_not_read.get_or_init(|| Denial::Answer)),
            Call::Create | Call::Finalize => {
                Error::WriteDenied(*self.may_not_write.get_or_init(|| Denial::Answer))
            }
        }
    }

    fn signed(&self, text: &str) -> Result<SignedUrl, crate::Error> {
        SignedUrl::read(text, &self.service.results_url)
    }

    const fn limiter(&self, call: Call) -> &Limiter {
        match call {
            Call::LookUp => &self.look_ups,
            Call::Create => &self.creations,
            Call::Finalize => &self.finalizations,
        }
    }
}
