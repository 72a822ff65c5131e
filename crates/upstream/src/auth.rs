//! From a 401's challenge to an Authorization (distribution's token specification).

pub(crate) mod answer;
pub(crate) mod challenge;
mod fetching;
mod header;
mod meet;
mod state;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use reqwest::Response;
use tokio::sync::OnceCell;
use url::{Origin, Url};

use crate::address::AddressPolicy;
use crate::credentials::{self, Credentials, Login};
use crate::error::Error;
use crate::redirect::{check_target, policy_after};
use crate::request::{Authorization, Reach};
use crate::transport::Transport;
use challenge::{Challenge, challenges};
use fetching::Fetching;
use header::{basic, bearer, sensitive};
use state::{Key, Scheme, State};
use token::Realm;

pub(crate) use state::{Requester, Want, Who};

/// How long it is remembered that `/v2/` was asked what the registry wants.
const VERSION: Duration = Duration::from_secs(600);
/// The same where it did not answer: who asks next must not wait for it again.
const NO_VERSION: Duration = Duration::from_secs(30);

/// How one upstream's Authorizations are had.
#[derive(Debug)]
pub(crate) struct Auth {
    url: Url,
    given: Option<Credentials>,
    login: OnceCell<Login>,
    state: Mutex<State>,
    fetching: Fetching,
    /// When `/v2/` is asked what the registry wants.
    pub(crate) version: tokio::sync::Mutex<Version>,
}

/// When `/v2/` is asked again what the registry wants; at once, where it was not asked yet.
#[derive(Debug, Default)]
pub(crate) struct Version(Option<Instant>);

impl Version {
    /// Whether it has to be asked, now or again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.0.is_none_or(|due| now >= due)
    }

    /// Notes that it was asked, and whether it has answered.
    pub(crate) fn note(&mut self, has_answered: bool, now: Instant) {
        self.0 = Some(now + if has_answered { VERSION } else { NO_VERSION });
    }
}

/// An answer that may have a challenge.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) response: &'a Response,
    /// Under which it was asked for.
    pub(crate) policy: AddressPolicy,
    pub(crate) requester: &'a Requester,
    /// Where the Authorization will go.
    pub(crate) place: Origin,
    /// The Authorization that was refused there.
    pub(crate) sent: Option<&'a HeaderValue>,
    /// Whose scope it names: that of what the requester wants, or something else's.
    pub(crate) is_own_scope: bool,
}

/// What came of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// There is none that can be met.
    Silent,
    /// Another try makes sense, with [`Auth::authorizations`].
    Again,
    /// It wants what was given.
    Refused,
}

impl Auth {
    pub(crate) fn new(url: Url, given: Option<Credentials>) -> Self {
        let state = Mutex::new(State::new(url.origin()));
        Self {
            url,
            given,
            login: OnceCell::new(),
            state,
            fetching: Fetching::default(),
            version: tokio::sync::Mutex::default(),
        }
    }

    /// The Authorizations for a requester, as far as earlier challenges tell; none before the first.
    ///
    /// # Errors
    /// [`Error`], when a token is needed and the token service does not give one.
    pub(crate) async fn authorizations(
        &self,
        transport: &Transport,
        requester: &Requester,
    ) -> Result<Vec<Authorization>, Error> {
        let key = self.key(self.url.origin(), requester);
        let mut found = Vec::new();
        let mut add = |value: Option<HeaderValue>, place: &Origin| {
            let reach = Reach::Origin(place.clone());
            found.extend(value.map(|value| Authorization { value, reach }));
        };
        if let Who::Client(authorization) = &requester.who {
            add(sensitive(authorization.expose()), &key.place);
        } else {
            add(self.meet(transport, &key).await?, &key.place);
        }
        let elsewhere = self.state().elsewhere(requester);
        for key in elsewhere {
            // The redirect may lead to another place by now.
            if let Ok(value) = self.meet(transport, &key).await {
                add(value, &key.place);
            }
        }
        Ok(found)
    }

    /// Takes the challenges of an answer.
    pub(crate) fn challenged(&self, refusal: &Refusal<'_>) -> Met {
        let Refusal { response, requester, sent, .. } = *refusal;
        let policy = policy_after(response, refusal.policy);
        let key = self.key(refusal.place.clone(), requester);
        let mut schemes = Vec::new();
        let mut scopes = Vec::new();
        let mut is_insufficient = false;
        for challenge in challenges(response.headers(), response.url()) {
            match challenge {
                Challenge::Basic => schemes.push(Scheme::Basic),
                Challenge::Bearer(bearer) => {
                    if let Err(why) = check_target(&self.url, &bearer.realm, policy) {
                        tracing::warn!(target: "hubcap::upstream", realm = bearer.realm.host_str(),
                            "a token service that leads {why}");
                        continue;
                    }
                    is_insufficient |= bearer.is_scope_insufficient;
                    if scopes.is_empty() && refusal.is_own_scope {
                        scopes = bearer.scopes;
                    }
                    schemes.push(Scheme::Bearer(Realm {
                        url: bearer.realm,
                        service: bearer.service,
                        policy,
                    }));
                }
            }
        }
        if schemes.is_empty() {
            return Met::Silent;
        }
        if scopes.is_empty() {
            scopes.push(requester.scope());
        }
        if self.is_of_another_token(&key, sent, &schemes) {
            self.state().forget_token(&key);
            return Met::Again;
        }
        let want = Want { schemes, scopes };
        let mut is_the_same = false;
        if let Some(sent) = sent {
            self.take_back(&key, sent);
            is_the_same = self.state().want(&key).is_some_and(|before| before.scopes == want.scopes);
        }
        self.state().learn(key, want);
        if is_insufficient && is_the_same { Met::Refused } else { Met::Again }
    }

    /// Whether only another token can help: Harbor wants Basic of who shows a token that it does not take, and there is no
    /// password.
    fn is_of_another_token(&self, key: &Key, sent: Option<&HeaderValue>, schemes: &[Scheme]) -> bool {
        let is_token = sent.is_some_and(|sent| sent.as_bytes().starts_with(b"Bearer "));
        let has_password = matches!(self.login.get(), Some(Login::Password(_)));
        let wants_token = |want: Want| want.schemes.iter().any(|scheme| matches!(scheme, Scheme::Bearer(_)));
        is_token
            && !has_password
            && schemes.iter().all(|scheme| *scheme == Scheme::Basic)
            && self.state().want(key).is_some_and(wants_token)
    }

    /// Notes that an Authorization was refused: a token may have been revoked, a login may be wrong.
    pub(crate) fn refused(&self, requester: &Requester, sent: &HeaderValue) {
        self.take_back(&self.key(self.url.origin(), requester), sent);
    }

    /// What the registry wants of a requester, as far as it has told.
    pub(crate) fn wanted(&self, requester: &Requester) -> Option<Want> {
        self.state().want(&self.key(self.url.origin(), requester))
    }

    /// Forgets that, so that the registry tells it again.
    pub(crate) fn forget_wanted(&self, requester: &Requester) {
        self.state().forget_want(&self.key(self.url.origin(), requester));
    }

    /// Whether hubcap has a login here.
    pub(crate) async fn has_login(&self) -> bool {
        !matches!(self.login().await, Login::Anonymous)
    }

    fn key(&self, place: Origin, requester: &Requester) -> Key {
        Key { place, requester: requester.clone() }
    }

    fn take_back(&self, key: &Key, sent: &HeaderValue) {
        self.state().forget_token(key);
        let is_login = match self.login.get() {
            Some(Login::Password(credentials)) => basic(credentials) == *sent,
            Some(Login::Token(token)) => bearer(token).is_ok_and(|value| value == *sent),
            _ => false,
        };
        if is_login {
            self.tell_refusal("the registry refuses access (401)");
        }
    }

    async fn login(&self) -> &Login {
        let find = async || match &self.given {
            Some(credentials) => Login::Password(credentials.clone()),
            None => credentials::from_docker(&self.url).await,
        };
        self.login.get_or_init(find).await
    }

    fn cached(&self, key: &Key) -> Option<HeaderValue> {
        self.state().cached(key, Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::token::Token;
    use super::*;
    use crate::credentials::Secret;

    #[test]
    fn no_secret_is_shown_in_debug() {
        let credentials = Credentials { username: "me".into(), password: Secret::new("hunter2") };
        let auth = Auth::new("https://r.example".parse().expect("a URL"), Some(credentials.clone()));
        let requester = Requester { who: Who::Own, repository: "a".parse().expect("a repository") };
        let token = Token { value: Secret::new("tok3n"), until: Instant::now() };
        auth.state().keep(auth.key(auth.url.origin(), &requester), token, Instant::now());
        let shown = format!("{auth:?} {:?} {:?}", basic(&credentials), bearer(&Secret::new("tok3n")));
        assert!(!shown.contains("hunter2") && !shown.contains("tok3n") && !shown.contains("bWU6"), "{shown}");
    }
}
