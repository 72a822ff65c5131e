//! How a challenge is met: with a token or a password, with hubcap's login or without.

use std::time::Instant;

use http::header::HeaderValue;
use url::Url;

use super::Auth;
use super::fetching::Failed;
use super::header::{basic, bearer};
use super::state::{Key, Scheme, Who};
use super::token::{Realm, Token, Wish};
use crate::credentials::Login;
use crate::error::Error;
use crate::owner::belongs;
use crate::transport::Transport;

impl Auth {
    /// hubcap's login for a requester, where it is one that hubcap asks for, at a place to which the login belongs.
    async fn login_for(&self, key: &Key) -> &Login {
        let is_its_place = key.place == self.url.origin()
            || Url::parse(&key.place.ascii_serialization()).is_ok_and(|place| belongs(&self.url, &place));
        if key.requester.who != Who::Own || !is_its_place || !self.state().is_login_good(Instant::now()) {
            return &Login::Anonymous;
        }
        self.login().await
    }

    /// Does what is wanted of a requester, by the first scheme that it can be done by.
    pub(super) async fn meet(&self, transport: &Transport, key: &Key) -> Result<Option<HeaderValue>, Error> {
        let Some(want) = self.state().want(key) else { return Ok(None) };
        let login = self.login_for(key).await;
        let mut schemes: Vec<&Scheme> = want.schemes.iter().collect();
        // A token is better than a password, if it can be had with it.
        schemes.sort_by_key(|scheme| match scheme {
            Scheme::Bearer(realm) if matches!(login, Login::Anonymous) || belongs(&self.url, &realm.url) => 0,
            Scheme::Basic => 1,
            Scheme::Bearer(_) => 2,
        });
        let mut failed = None;
        for scheme in schemes {
            let met = match (scheme, login) {
                (Scheme::Basic, Login::Password(credentials)) => Ok(basic(credentials)),
                (Scheme::Basic, _) => continue,
                (Scheme::Bearer(_), Login::Token(token)) => bearer(token),
                (Scheme::Bearer(realm), login) => {
                    let login = if belongs(&self.url, &realm.url) { login } else { &Login::Anonymous };
                    let wish = Wish { registry: &self.url, scopes: &want.scopes, login };
                    self.token(transport, realm, key, wish).await
                }
            };
            match met {
                Ok(value) => return Ok(Some(value)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    async fn token(
        &self,
        transport: &Transport,
        realm: &Realm,
        key: &Key,
        wish: Wish<'_>,
    ) -> Result<HeaderValue, Error> {
        if let Some(token) = self.cached(key) {
            return Ok(token);
        }
        let since = Instant::now();
        let turn = self.fetching.turn(key);
        let mut last_failure = turn.lock().await;
        if let Some(token) = self.cached(key) {
            return Ok(token);
        }
        // A request that waited for one that failed shares its failure: one after the other would be a hang.
        if let Some(Failed { at, error }) = &*last_failure
            && *at >= since
        {
            return Err(error.clone());
        }
        let fetched = self.fetch(transport, realm, key, wish).await;
        if let Err(error) = &fetched {
            *last_failure = Some(Failed { at: Instant::now(), error: error.clone() });
        }
        let token = fetched?;
        let value = bearer(&token.value)?;
        self.state().keep(key.clone(), token, Instant::now());
        Ok(value)
    }

    /// A token with the login, else without; for the scopes that are wanted, else for the one that a pull needs.
    async fn fetch(
        &self,
        transport: &Transport,
        realm: &Realm,
        key: &Key,
        wish: Wish<'_>,
    ) -> Result<Token, Error> {
        let least = [key.requester.scope()];
        let scopes = [Some(wish.scopes), Some(&least[..]).filter(|least| *least != wish.scopes)];
        let logins =
            [Some(wish.login).filter(|login| !matches!(login, Login::Anonymous)), Some(&Login::Anonymous)];
        let mut refused = None;
        for login in logins.into_iter().flatten() {
            let is_login = !matches!(login, Login::Anonymous);
            for scopes in scopes.into_iter().flatten() {
                match realm.token(transport, Wish { scopes, login, ..wish }).await {
                    Ok(token) => {
                        if is_login {
                            self.state().note_login_works();
                        }
                        return Ok(token);
                    }
                    Err(error @ (Error::Denied { .. } | Error::Invalid { .. } | Error::NotFound)) => {
                        let is_login_wrong = is_login && error == Error::Denied { status: 401 };
                        refused = refused.or(Some(error));
                        if is_login_wrong {
                            self.state().note_login_refused(Instant::now());
                            break;
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            if let (true, Some(error)) = (is_login, &refused) {
                self.tell_refusal(&format!("by the token service: {error}"));
            }
        }
        Err(refused.unwrap_or(Error::Denied { status: 401 }))
    }

    /// Tells, once, that the login does not help.
    pub(super) fn tell_refusal(&self, why: &str) {
        if self.state().must_tell_refusal() {
            tracing::warn!(target: "hubcap::upstream", registry = self.url.host_str(),
                "hubcap's login is refused ({why}); going on without, where that helps: check the login with docker login, \
                 or in hubcap's own settings");
        }
    }
}
