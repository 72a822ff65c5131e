//! How a challenge is met: with a token or a password, with hubcap's login or without.

use std::time::Instant;

use http::header::HeaderValue;
use url::Url;

use super::Auth;
use super::fetching::Fetched;
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
        let mut last = turn.lock().await;
        if let Some(token) = self.cached(key) {
            return Ok(token);
        }
        // Who waited for a request shares what came of it, be it a failure or a token that is good for a moment only: one after the
        // other would be a hang.
        if let Some(Fetched { at, token }) = &*last
            && *at >= since
        {
            return token.clone();
        }
        let token = self.fetch_to_keep(transport, realm, key, wish).await;
        *last = Some(Fetched { at: Instant::now(), token: token.clone() });
        token
    }

    async fn fetch_to_keep(
        &self,
        transport: &Transport,
        realm: &Realm,
        key: &Key,
        wish: Wish<'_>,
    ) -> Result<HeaderValue, Error> {
        let token = self.fetch(transport, realm, key, wish).await?;
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::address::AddressPolicy;
    use crate::auth::{Requester, Want};

    /// A token service whose tokens are numbered, and end as they come.
    fn token_service() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, asked) = (listener.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection");
                let head = BufReader::new(&connection).lines().map_while(Result::ok);
                if head.take_while(|line| !line.is_empty()).count() == 0 {
                    continue;
                }
                let number = count.fetch_add(1, Ordering::Relaxed);
                let body = format!("{{\"token\":\"t{number}\",\"expires_in\":0.000001}}");
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
                write!(connection, "{head}\r\n\r\n{body}").expect("answered");
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn who_waits_for_a_token_gets_it_though_it_ends_as_it_comes() {
        let (address, asked) = token_service();
        let url: Url = format!("http://{address}").parse().expect("a URL");
        let (auth, transport) = (Auth::new(url.clone(), None), Transport::new(Duration::from_secs(10)));
        let requester = Requester { who: Who::Anonymous, repository: "a".parse().expect("a repository") };
        let realm = Realm { url, service: None, policy: AddressPolicy::Any };
        let want = Want { schemes: vec![Scheme::Bearer(realm)], scopes: vec![requester.scope()] };
        let key = auth.key(auth.url.origin(), &requester);
        auth.state().learn(key.clone(), want);
        // All of them wait before the service can have answered the first.
        let met = join_all((0..16).map(|_| auth.meet(&transport, &key))).await;
        for value in met {
            assert_eq!(value, Ok(Some(HeaderValue::from_static("Bearer t0"))));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let next = auth.meet(&transport, &key).await;
        assert_eq!(next, Ok(Some(HeaderValue::from_static("Bearer t1"))), "who comes later gets his own");
    }
}
