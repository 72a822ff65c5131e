//! An origin: one place that has a registry's contents, and what hubcap knows of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use hubcap_oci::{Digest, Endpoint, Registry, Repository};
use serde::{Deserialize, Serialize};
use url::{Position, Url};

use crate::address::AddressPolicy;
use crate::auth::Auth;
use crate::circuit::CircuitState;
use crate::circuits::Circuits;
use crate::config::OriginConfig;
use crate::connection::Connection;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::ratelimit::RateLimit;
use crate::request::Request;
use crate::shortcut::{Shortcut, Shortcuts};
use crate::speed::Speed;
use crate::transport::Transport;

/// For how long an origin that sent wrong bytes for a digest is asked for it after the others.
const WRONG: Duration = Duration::from_secs(600);
/// Digests that are remembered so, at most: the oldest is forgotten.
const MAX_WRONG: usize = 64;

/// One place that has a registry's contents: its address and its login, and how it has behaved.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) url: Url,
    pub(crate) policy: AddressPolicy,
    pub(crate) transport: Arc<Transport>,
    pub(crate) auth: Auth,
    pub(crate) circuits: Circuits,
    pub(crate) limit: ConnectionLimit,
    pub(crate) manifest_heads: Shortcuts,
    pub(crate) blob_heads: Shortcuts,
    /// HEADs of tags although it limits hubcap, which some answer nevertheless.
    pub(crate) heads_beyond_limit: Shortcut,
    pub(crate) speed: Speed,
    pub(crate) ranges: Shortcut,
    /// Several ranges in one request: some that give one range give the whole then.
    pub(crate) several_ranges: Shortcut,
    rate_limit: Mutex<Option<RateLimit>>,
    /// Held while it is asked whether it answers anything.
    doubt: tokio::sync::Mutex<()>,
    /// For what it sent wrong bytes, and when.
    wrong: Mutex<Vec<(Digest, Instant)>>,
}

/// How an origin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OriginState {
    /// Its address.
    pub url: String,
    /// Whether it is asked on hubcap's own behalf.
    pub circuit: CircuitState,
    /// Bytes a second of one connection, lately; `None` while nothing was large enough to tell.
    pub speed: Option<u64>,
    /// Its rate limit, as it last reported it.
    pub rate_limit: Option<RateLimit>,
}

/// How hubcap connects to an origin.
#[derive(Debug, Clone)]
pub(crate) struct Connecting {
    pub(crate) transport: Arc<Transport>,
    pub(crate) policy: AddressPolicy,
    pub(crate) limit: ConnectionLimit,
}

impl Connecting {
    /// The same for one more origin, which has a limit of its own.
    pub(crate) fn for_origin(&self) -> Self {
        Self { limit: self.limit.for_origin(), ..self.clone() }
    }
}

impl Origin {
    /// # Errors
    /// [`Error::Config`] for an address that is not `http` or `https` with a host and nothing secret in it.
    pub(crate) fn new(
        registry: &Registry,
        config: OriginConfig,
        connecting: Connecting,
    ) -> Result<Self, Error> {
        let OriginConfig { mut url, credentials } = config;
        let bad = |why: &str| Error::Config { why: format!("the address of upstream {registry} {why}") };
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not contain a login; use username and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("must not have a query or a fragment"));
        }
        // So that the endpoints' paths can be put behind it.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let auth = Auth::new(url.clone(), credentials);
        let Connecting { transport, policy, limit } = connecting;
        Ok(Self {
            url,
            policy,
            transport,
            auth,
            circuits: Circuits::default(),
            limit,
            manifest_heads: Shortcuts::default(),
            blob_heads: Shortcuts::default(),
            heads_beyond_limit: Shortcut::default(),
            ranges: Shortcut::default(),
            several_ranges: Shortcut::default(),
            speed: Speed::default(),
            rate_limit: Mutex::default(),
            doubt: tokio::sync::Mutex::default(),
            wrong: Mutex::default(),
        })
    }

    /// Where an endpoint is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no URL.
    pub(crate) fn endpoint(&self, endpoint: &Endpoint) -> Result<Url, Error> {
        self.at(&endpoint.path())
    }

    /// Where a path of the specification, with its query, is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no URL.
    pub(crate) fn at(&self, path: &str) -> Result<Url, Error> {
        let host = &self.url[..Position::BeforePath];
        Url::parse(&format!("{host}{}", placed(self.url.path(), path)))
            .map_err(|error| Error::invalid(error.to_string()))
    }

    /// The name that a repository has there.
    pub(crate) fn name_of(&self, repository: &Repository) -> Repository {
        let prefix = self.url.path().split_once("/v2/").map(|(_, prefix)| prefix);
        let named = prefix.and_then(|prefix| format!("{prefix}/{repository}").parse().ok());
        named.unwrap_or_else(|| repository.clone())
    }

    /// How it is now.
    pub(crate) fn state(&self) -> OriginState {
        OriginState {
            url: self.url.to_string(),
            circuit: self.circuits.state(Instant::now()),
            // No origin is so fast that it would be cut.
            speed: self.speed.rate().map(|rate| rate as u64),
            rate_limit: self.rate_limit(),
        }
    }

    /// Whether it is not asked now, because of trouble that it had.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.circuits.state(Instant::now()), CircuitState::Open { .. })
    }

    /// Asks it what every registry answers, with a login or without (end-1): whether it is there does not depend on what a
    /// client has asked for. Any answer but its trouble, a redirect too, is one.
    pub(crate) async fn ask_whether_it_is_there(&self) {
        // Another one asks already.
        let Ok(_asking) = self.doubt.try_lock() else { return };
        let Ok(url) = self.endpoint(&Endpoint::Version) else { return };
        let request = Request::new(Method::GET, url, HeaderMap::new(), self.policy);
        let patience = self.transport.patience();
        let answered = self.transport.send_only_once(&request, Connection::Fresh, patience).await;
        if answered.is_ok_and(|answer| !answer.status().is_server_error()) {
            self.circuits.note_answer(Instant::now());
        }
    }

    /// Notes that it sent wrong bytes for a digest.
    pub(crate) fn note_wrong(&self, digest: &Digest) {
        let mut wrong = self.wrong();
        wrong.retain(|(known, _)| known != digest);
        if wrong.len() >= MAX_WRONG {
            wrong.remove(0);
        }
        wrong.push((*digest, Instant::now()));
    }

    /// Whether it lately sent wrong bytes for a digest.
    pub(crate) fn was_wrong(&self, digest: &Digest) -> bool {
        self.wrong().iter().any(|(known, at)| known == digest && at.elapsed() < WRONG)
    }

    fn wrong(&self) -> MutexGuard<'_, Vec<(Digest, Instant)>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rate limit, from the last answer that had one.
    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the rate limit that an answer tells.
    pub(crate) fn note_rate_limit(&self, headers: &HeaderMap) {
        if let Some(limit) = RateLimit::read(headers) {
            *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
        }
    }
}

/// Its host, and its path where it has one.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url[Position::BeforeHost..].trim_end_matches('/'))
    }
}

/// Where a path of the specification is below an origin's own path: in place of `/v2` where that names it, else behind it.
fn placed(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let named = base.find("/v2/").or_else(|| base.len().checked_sub(3).filter(|_| base.ends_with("/v2")));
    match (named, path.strip_prefix("/v2/")) {
        // end-1 is where the API begins, whatever comes behind it.
        (Some(at), Some("")) => format!("{}/v2/", &base[..at]),
        (Some(_), Some(rest)) => format!("{base}/{rest}"),
        (Some(at), None) => format!("{}{path}", &base[..at]),
        (None, _) => format!("{base}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_names_v2_is_a_prefix_of_repositories_and_any_other_comes_before() {
        for (base, manifests, version) in [
            ("", "/v2/a/b/manifests/1", "/v2/"),
            ("/", "/v2/a/b/manifests/1", "/v2/"),
            ("/hub", "/hub/v2/a/b/manifests/1", "/hub/v2/"),
            ("/v2", "/v2/a/b/manifests/1", "/v2/"),
            ("/v2/hub", "/v2/hub/a/b/manifests/1", "/v2/"),
            ("/api/docker/v2/hub", "/api/docker/v2/hub/a/b/manifests/1", "/api/docker/v2/"),
            ("/v20/hub", "/v20/hub/v2/a/b/manifests/1", "/v20/hub/v2/"),
        ] {
            assert_eq!(placed(base, "/v2/a/b/manifests/1"), manifests, "{base}");
            assert_eq!(placed(base, "/v2/"), version, "{base}");
        }
        assert_eq!(placed("/v2/hub", "/token?a=b"), "/token?a=b");
    }
}
