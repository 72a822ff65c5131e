//! A request with the Authorization that its repository needs.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, header};
use hubcap_oci::{Endpoint, Repository};
use reqwest::Response;
use url::Url;

use super::Upstream;
use crate::auth::{Met, Refusal, Requester, Who};
use crate::circuits::Call;
use crate::error::{Error, Failed};
use crate::origin::Origin;
use crate::request::{Authorization, Reach, Request};
use crate::status::{judge, judge_range};

/// So many Authorizations are tried for one request: none, a token that ran out, a fresh one, and one for where a redirect
/// led. A registry that refuses them all would have hubcap ask for ever.
const MAX_TRIES: usize = 5;

/// The longest `Retry-After` that is waited for while a client waits.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const WAIT_AT_LIMIT: Duration = Duration::from_secs(1);
const WAIT_AFTER_FAILURE: Duration = Duration::from_millis(500);

impl Upstream {
    /// Sends a request with the Authorization that its repository needs, and reads the status; what comes of it counts
    /// for the circuits.
    pub(super) async fn authorized(
        &self,
        request: Request,
        repository: &Repository,
    ) -> Result<Response, Error> {
        let call = self.origin.circuits.check(self.requester(repository), Instant::now())?;
        self.patiently(request, repository, &call).await
    }

    /// Sends a request, and once more where that may help after a moment, as clients do by themselves: they do not do it
    /// where hubcap says that it could not help. What comes of it counts for the circuits.
    pub(super) async fn patiently(
        &self,
        request: Request,
        repository: &Repository,
        call: &Call,
    ) -> Result<Response, Error> {
        let circuits = &self.origin.circuits;
        let answered = self.in_doubt(call, self.with_token(request.clone(), repository)).await;
        let result = match answered.as_ref().err().and_then(|failed| second_try(&failed.error)) {
            // Another origin does not make anybody wait.
            Some(pause) if !self.has_others() => {
                // Each failure counts, so that a registry that is down is left alone as soon as before.
                if matches!(answered, Err(Failed { error: Error::Failed { .. }, .. })) {
                    circuits.record(call, &answered, Instant::now());
                }
                tokio::time::sleep(pause).await;
                self.in_doubt(call, self.with_token(request, repository)).await
            }
            _ => answered,
        };
        circuits.record(call, &result, Instant::now());
        Ok(result?)
    }

    /// Waits for an answer. Where none comes for a while, or all others wait for this one, the origin itself is asked whether
    /// it is there, so that a repository that gets no answer does not speak for all. Nobody waits for that.
    pub(super) async fn in_doubt<T>(&self, call: &Call, asking: impl Future<Output = T>) -> T {
        let mut asking = pin!(asking);
        let patience = if call.is_probe() { Duration::ZERO } else { self.patience() };
        if let Ok(answered) = tokio::time::timeout(patience, &mut asking).await {
            return answered;
        }
        if self.origin.circuits.is_in_doubt(call) {
            let origin = Arc::clone(&self.origin);
            tokio::spawn(async move { origin.ask_whether_it_is_there().await });
        }
        asking.await
    }

    /// Sends a request, and no circuit hears of it. Boxed, because what it does is deep, and each answer to a client has it in its
    /// own future.
    pub(super) fn with_token<'a>(
        &'a self,
        request: Request,
        repository: &'a Repository,
    ) -> Pin<Box<dyn Future<Output = Result<Response, Failed>> + Send + 'a>> {
        Box::pin(self.try_tokens(request, repository))
    }

    async fn try_tokens(&self, request: Request, repository: &Repository) -> Result<Response, Failed> {
        let Origin { transport, auth, .. } = &*self.origin;
        let repository = self.origin.name_of(repository);
        let requester = Requester { who: self.who.clone(), repository };
        // What the registry wanted before may be wanted no more, or from another token service: it tells, if it is asked.
        let mut failed_before = None;
        let wanted = auth.wanted(&requester);
        let first = match auth.authorizations(transport, &requester).await {
            Ok(first) => first,
            Err(error @ Error::Denied { .. }) => return Err(Failed::elsewhere(error)),
            Err(error) => {
                auth.forget_wanted(&requester);
                failed_before = Some((error, wanted));
                Vec::new()
            }
        };
        let mut tries = Tries::new(first);
        let judge = if request.headers.contains_key(header::RANGE) { judge_range } else { judge };
        loop {
            let authorizations = tries.current.clone();
            let response = transport.send(Request { authorizations, ..request.clone() }).await?;
            self.origin.note_rate_limit(response.headers());
            let is_elsewhere = response.url().origin() != request.url.origin();
            let failed = |error| Failed { error, is_elsewhere };
            match self.next_step(&request, &response, &requester, &mut tries).await {
                Step::Repeat => {}
                Step::Authorize => {
                    // The one that has given no token would give none now.
                    if let Some((error, wanted)) = failed_before.take()
                        && auth.wanted(&requester) == wanted
                    {
                        return Err(Failed::elsewhere(error));
                    }
                    let again = auth.authorizations(transport, &requester).await;
                    if !tries.is_new(again.map_err(Failed::elsewhere)?) {
                        return judge(response).map_err(failed);
                    }
                }
                Step::Answer => return judge(response).map_err(failed),
                Step::Elsewhere => {
                    return Err(failed(Error::Elsewhere { status: response.status().as_u16() }));
                }
            }
        }
    }

    /// What becomes of an answer.
    async fn next_step(
        &self,
        request: &Request,
        response: &Response,
        requester: &Requester,
        tries: &mut Tries,
    ) -> Step {
        let Origin { url, auth, policy, .. } = &*self.origin;
        let status = response.status().as_u16();
        let is_elsewhere = response.url().origin() != request.url.origin();
        let is_of_client = matches!(requester.who, Who::Client(_));
        if !matches!(status, 400 | 401 | 403 | 404 | 410) || (is_of_client && !is_elsewhere) {
            return Step::Answer;
        }
        let sent = tries.sent_to(response.url());
        // A 403 is a no, unless nothing was shown that could change it.
        if status == 401 || (status == 403 && sent.is_none()) {
            let place = response.url().origin();
            let refusal = Refusal {
                response,
                policy: *policy,
                requester,
                place,
                sent: sent.as_ref(),
                is_own_scope: true,
            };
            match auth.challenged(&refusal) {
                Met::Again => return Step::Authorize,
                Met::Refused => return Step::Answer,
                Met::Silent => {}
            }
        }
        if is_elsewhere {
            return match status {
                404 => Step::Answer,
                // The registry's own answer was yes. Its next one is signed anew.
                _ if request.method == Method::GET && !tries.is_signed_again => {
                    tries.is_signed_again = true;
                    Step::Repeat
                }
                _ if tries.share(url, response.url()) => Step::Repeat,
                _ => Step::Elsewhere,
            };
        }
        match (status, sent) {
            (401, Some(sent)) => {
                auth.refused(requester, &sent);
                Step::Authorize
            }
            // Some registries hide what there is from who shows nothing.
            (401 | 403 | 404, None) if self.ask_version(requester).await => Step::Authorize,
            _ => Step::Answer,
        }
    }

    /// Whether the registry tells at `/v2/` what it wants (end-1). gcr.io does so only there, and Docker and skopeo ask there
    /// before anything else.
    async fn ask_version(&self, requester: &Requester) -> bool {
        let Origin { url, auth, policy, transport, .. } = &*self.origin;
        let mut asked = auth.version.lock().await;
        if asked.is_due(Instant::now())
            && let Ok(version) = self.url(&Endpoint::Version)
        {
            let answered = transport.send(self.request(Method::GET, version, HeaderMap::new())).await;
            asked.note(answered.is_ok(), Instant::now());
            if let Ok(response) = &answered {
                // Its scope, if it has one, is that of something else.
                auth.challenged(&Refusal {
                    response,
                    policy: *policy,
                    requester,
                    place: url.origin(),
                    sent: None,
                    is_own_scope: false,
                });
            }
        }
        auth.wanted(requester).is_some()
    }
}

/// How long to wait before a request is sent once more after this error; `None` where that would hardly help.
fn second_try(error: &Error) -> Option<Duration> {
    match error {
        Error::RateLimited { retry_after: Some(wish) } | Error::Overloaded { retry_after: wish } => {
            Some(*wish).filter(|wish| *wish <= LONGEST_WAIT)
        }
        Error::RateLimited { retry_after: None } => Some(WAIT_AT_LIMIT),
        Error::Failed { status: 501 } => None,
        Error::Failed { status: 500.. } => Some(WAIT_AFTER_FAILURE),
        _ => None,
    }
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is the answer.
    Answer,
    /// The host that the registry redirects to does not give it.
    Elsewhere,
    /// Asked again, as the tries say.
    Repeat,
    /// Asked again with another Authorization, if there is one.
    Authorize,
}

/// The Authorizations that one request was sent with.
#[derive(Debug)]
struct Tries {
    current: Vec<Authorization>,
    /// Those before.
    past: Vec<Vec<Authorization>>,
    /// Whether the registry was asked for another redirect.
    is_signed_again: bool,
}

impl Tries {
    const fn new(first: Vec<Authorization>) -> Self {
        Self { current: first, past: Vec::new(), is_signed_again: false }
    }

    fn sent_to(&self, url: &Url) -> Option<http::HeaderValue> {
        self.current.iter().find(|one| one.reach.includes(url)).map(|one| one.value.clone())
    }

    /// Goes on with other Authorizations, or in the end with none: a wrong login may hide what everybody may have.
    /// False when nothing is left to try.
    fn is_new(&mut self, next: Vec<Authorization>) -> bool {
        self.past.push(std::mem::replace(&mut self.current, next));
        if self.past.contains(&self.current) {
            self.current.clear();
        }
        self.past.len() < MAX_TRIES && !self.past.contains(&self.current)
    }

    /// Shows the registry's Authorization to another port of its host too, as Go's clients do; but only where it is asked
    /// for something, because signed URLs are refused with one. False when that was done before, or must not be.
    fn share(&mut self, registry: &Url, with: &Url) -> bool {
        let is_its_host =
            registry.host() == with.host() && (with.scheme() == "https" || registry.scheme() == "http");
        let shared = self.sent_to(registry).filter(|_| is_its_host && self.sent_to(with).is_none());
        let reach = Reach::Origin(with.origin());
        let is_shared = shared.is_some();
        self.current.extend(shared.map(|value| Authorization { value, reach }));
        is_shared
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn a_request_is_sent_once_more_where_a_moment_may_help() {
        let limited = |seconds| Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(second_try(&limited(2)), Some(Duration::from_secs(2)));
        assert_eq!(second_try(&limited(60)), None);
        for status in [500, 502, 503, 504, 521] {
            assert_eq!(second_try(&Error::Failed { status }), Some(WAIT_AFTER_FAILURE));
        }
        for error in [Error::NotFound, Error::Failed { status: 501 }, Error::Failed { status: 407 }] {
            assert_eq!(second_try(&error), None);
        }
    }

    fn token(value: &'static str) -> Vec<Authorization> {
        let reach = Reach::Origin(url("https://r.example").origin());
        vec![Authorization { value: HeaderValue::from_static(value), reach }]
    }

    #[test]
    fn each_authorization_is_tried_once_and_none_at_all_in_the_end() {
        let mut tries = Tries::new(Vec::new());
        assert!(tries.is_new(token("a")) && tries.is_new(token("b")));
        assert!(!tries.is_new(token("b")), "nothing was shown at first");
        let mut tries = Tries::new(token("a"));
        assert!(tries.is_new(token("a")) && tries.current.is_empty());
        assert!(!tries.is_new(token("a")));
        let mut tries = Tries::new(token("0"));
        let tokens = ["1", "2", "3", "4", "5", "6"];
        assert_eq!(tokens.into_iter().filter(|one| tries.is_new(token(one))).count(), MAX_TRIES - 1);
    }

    #[test]
    fn a_token_is_shared_within_the_host_alone_and_once() {
        let registry = url("https://r.example");
        for (with, is_shared) in [
            ("https://r.example:8443/x", true),
            ("http://r.example/x", false),
            ("https://cdn.r.example/x", false),
            ("https://r.example.evil/x", false),
            ("https://r.example/x", false),
        ] {
            let mut tries = Tries::new(token("a"));
            assert_eq!(tries.share(&registry, &url(with)), is_shared, "{with}");
            assert!(!tries.share(&registry, &url(with)), "{with}");
        }
        assert!(!Tries::new(Vec::new()).share(&registry, &url("https://r.example:8443")));
    }
}
