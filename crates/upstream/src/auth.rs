//! From a 401's challenge to an Authorization (distribution's token specification).

pub(crate) mod challenge;
mod header;
mod realm;
mod token;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::Response;
use tokio::sync::OnceCell;
use url::Url;

use crate::address::AddressPolicy;
use crate::credentials::{self, Credentials, Login, Secret};
use crate::error::Error;
use crate::transport::{Transport, check_target, policy_after};
use challenge::Challenge;
use header::{basic, bearer, sensitive};
use token::{Realm, Token};

/// On whose behalf an upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// hubcap itself, with its login where it has one.
    Own,
    /// Nobody in particular, without a login.
    Anonymous,
    /// A client, with the Authorization that it sent. It goes to the registry and nowhere else, as it is.
    Client(Secret),
}

/// On whose behalf an upstream is asked, and for which scope: what a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Requester {
    pub(crate) who: Who,
    /// `repository:NAME:pull`.
    pub(crate) scope: String,
}

/// How one upstream's Authorizations are had.
#[derive(Debug)]
pub(crate) struct Auth {
    url: Url,
    given: Option<Credentials>,
    login: OnceCell<Login>,
    state: Mutex<State>,
    /// One token request at a time: all who wait for it find its token.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    scheme: Option<Scheme>,
    tokens: HashMap<Requester, Token>,
    /// When the token service last could not be used, and why.
    failure: Option<(Instant, Error)>,
}

/// What the upstream last wanted.
#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Bearer(Realm),
}

impl Auth {
    pub(crate) fn new(url: Url, given: Option<Credentials>) -> Self {
        Self {
            url,
            given,
            login: OnceCell::new(),
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The Authorization for a requester, as far as earlier challenges tell; `None` before the first.
    ///
    /// # Errors
    /// [`Error`], when a token is needed and the token service does not give one.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        requester: &Requester,
    ) -> Result<Option<HeaderValue>, Error> {
        if let Who::Client(authorization) = &requester.who {
            return Ok(sensitive(authorization.expose()));
        }
        let scheme = self.state().scheme.clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => Ok(self.basic(&requester.who).await),
            Some(Scheme::Bearer(realm)) => self.token(transport, &realm, requester).await.map(Some),
        }
    }

    /// Takes the challenge of a 401, to a request under `policy` that carried `sent`. True when another try with
    /// [`authorization`](Self::authorization) makes sense.
    pub(crate) fn challenged(
        &self,
        response: &Response,
        policy: AddressPolicy,
        requester: &Requester,
        sent: Option<&HeaderValue>,
    ) -> bool {
        if matches!(requester.who, Who::Client(_)) {
            return false;
        }
        let values = response.headers().get_all(WWW_AUTHENTICATE);
        let Some(challenge) =
            values.iter().filter_map(|value| value.to_str().ok()).find_map(Challenge::parse)
        else {
            return false;
        };
        let scheme = match challenge {
            Challenge::Basic => Scheme::Basic,
            Challenge::Bearer { realm, service } => {
                let policy = policy_after(response, policy);
                if let Err(why) = check_target(&self.url, &realm, policy) {
                    tracing::warn!(target: "hubcap::upstream", realm = realm.host_str(),
                        "a token service that leads {why}");
                    return false;
                }
                Scheme::Bearer(Realm { url: realm, service: service.unwrap_or_default(), policy })
            }
        };
        let mut state = self.state();
        // A token that was refused may have been revoked; a login that was refused stays so.
        let refused = sent.is_some();
        let is_worth_it = !refused || matches!(scheme, Scheme::Bearer(_));
        if refused {
            state.tokens.remove(requester);
        }
        state.scheme = Some(scheme);
        is_worth_it
    }

    /// Whether hubcap has a login here.
    pub(crate) async fn has_login(&self) -> bool {
        !matches!(self.login(&Who::Own).await, Login::Anonymous)
    }

    async fn login(&self, who: &Who) -> &Login {
        if *who != Who::Own {
            return &Login::Anonymous;
        }
        let find = async || match &self.given {
            Some(credentials) => Login::Password(credentials.clone()),
            None => credentials::from_docker(&self.url).await,
        };
        self.login.get_or_init(find).await
    }

    async fn basic(&self, who: &Who) -> Option<HeaderValue> {
        match self.login(who).await {
            Login::Password(credentials) => Some(basic(credentials)),
            Login::Anonymous | Login::Identity(_) => None,
        }
    }

    async fn token(
        &self,
        transport: &Transport,
        realm: &Realm,
        requester: &Requester,
    ) -> Result<HeaderValue, Error> {
        if let Some(token) = self.cached(requester) {
            return Ok(token);
        }
        let since = Instant::now();
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(token) = self.cached(requester) {
            return Ok(token);
        }
        // A request that waited for one that failed shares its failure: one timeout after the other would be a hang.
        if let Some((at, error)) = &self.state().failure
            && *at >= since
        {
            return Err(error.clone());
        }
        let login = if realm::belongs(&self.url, &realm.url) {
            self.login(&requester.who).await
        } else {
            tracing::debug!(target: "hubcap::upstream", realm = realm.url.host_str(),
                "a foreign realm gets no login");
            &Login::Anonymous
        };
        let fetched = realm.token(transport, &requester.scope, login).await;
        if let Err(error @ (Error::Unavailable { .. } | Error::RateLimited { .. })) = &fetched {
            self.state().failure = Some((Instant::now(), error.clone()));
        }
        let token = fetched?;
        let value = bearer(&token.value)?;
        self.state().tokens.insert(requester.clone(), token);
        Ok(value)
    }

    fn cached(&self, requester: &Requester) -> Option<HeaderValue> {
        let mut state = self.state();
        let now = Instant::now();
        state.tokens.retain(|_, token| token.until > now);
        state.tokens.get(requester).and_then(|token| bearer(&token.value).ok())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_in_debug() {
        let credentials = Credentials { username: "me".into(), password: Secret::new("hunter2") };
        let auth = Auth::new("https://r.example".parse().expect("a URL"), Some(credentials.clone()));
        let requester = Requester { who: Who::Own, scope: "s".into() };
        let token = Token { value: Secret::new("tok3n"), until: Instant::now() };
        auth.state().tokens.insert(requester, token);
        let shown = format!("{auth:?} {:?} {:?}", basic(&credentials), bearer(&Secret::new("tok3n")));
        assert!(!shown.contains("hunter2") && !shown.contains("tok3n") && !shown.contains("bWU6"), "{shown}");
    }
}
