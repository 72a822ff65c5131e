//! From a 401's challenge to an Authorization (distribution's token specification).

pub(crate) mod challenge;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use http::{HeaderMap, Method, header};
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use crate::Error;
use crate::address::{AddressPolicy, is_loopback};
use crate::body;
use crate::credentials::{self, Credentials, Login, Secret};
use crate::transport::{Request, Transport, check_target, policy_after};
use challenge::Challenge;

/// Without `expires_in` a token is good for so long, says the specification.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds: the request that carries it takes its time.
const MARGIN: Duration = Duration::from_secs(5);
/// A token is some KiB; a larger answer is none.
const MAX_ANSWER: usize = 1 << 20;
/// What fits into one header of any server.
const MAX_TOKEN: usize = 16 << 10;

/// For whom an upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// hubcap itself, with its login where it has one.
    Own,
    /// Nobody: what everybody may have.
    Anonymous,
    /// A client, with the Authorization that it sent. It goes to the registry and nowhere else, as it is.
    Client(Secret),
}

/// One upstream's way to an Authorization.
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
    /// What the upstream last wanted, and where it may lead.
    challenge: Option<(Challenge, AddressPolicy)>,
    /// By who asks and the scope.
    tokens: HashMap<(Who, String), Token>,
    /// When the token service last could not be used, and why.
    trouble: Option<(Instant, Error)>,
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    until: Instant,
}

impl Auth {
    pub(crate) fn new(url: Url, given: Option<Credentials>) -> Self {
        let (login, state, fetching) = (OnceCell::new(), Mutex::default(), tokio::sync::Mutex::default());
        Self { url, given, login, state, fetching }
    }

    /// The Authorization for a scope, as far as earlier challenges tell; `None` before the first.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        (who, scope): (&Who, &str),
    ) -> Result<Option<HeaderValue>, Error> {
        if let Who::Client(authorization) = who {
            return Ok(sensitive(authorization.expose()));
        }
        let challenge = self.state().challenge.clone();
        match challenge {
            None => Ok(None),
            Some((Challenge::Basic, _)) => Ok(self.basic(who).await),
            Some((Challenge::Bearer { realm, service }, policy)) => {
                let service = service.unwrap_or_default();
                self.token(transport, (&realm, &service, policy), (who, scope)).await.map(Some)
            }
        }
    }

    /// Takes a 401. True when another try with [`authorization`](Self::authorization) makes sense.
    pub(crate) fn challenged(
        &self,
        (response, asked): (&Response, AddressPolicy),
        (who, scope): (&Who, &str),
        sent: Option<&HeaderValue>,
    ) -> bool {
        if matches!(who, Who::Client(_)) {
            return false;
        }
        let values = response.headers().get_all(header::WWW_AUTHENTICATE);
        let Some(challenge) =
            values.iter().filter_map(|value| value.to_str().ok()).find_map(Challenge::parse)
        else {
            return false;
        };
        let policy = policy_after(response, asked);
        if let Challenge::Bearer { realm, .. } = &challenge
            && let Err(why) = check_target(&self.url, realm, policy)
        {
            tracing::warn!(target: "hubcap::upstream", realm = realm.host_str(), "a token service that leads {why}");
            return false;
        }
        let mut state = self.state();
        // A token that was refused may have been revoked; a login that was refused stays so.
        let refused = sent.is_some();
        let worth_it = !refused || matches!(challenge, Challenge::Bearer { .. });
        if refused {
            state.tokens.remove(&(who.clone(), scope.to_owned()));
        }
        state.challenge = Some((challenge, policy));
        worth_it
    }

    /// Whether hubcap itself is more than anybody here.
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
        (realm, service, policy): (&Url, &str, AddressPolicy),
        (who, scope): (&Who, &str),
    ) -> Result<HeaderValue, Error> {
        let key = (who.clone(), scope.to_owned());
        if let Some(token) = self.cached(&key) {
            return Ok(token);
        }
        let since = Instant::now();
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(token) = self.cached(&key) {
            return Ok(token);
        }
        // Who waited for a request that failed shares its failure: one timeout after the other would be a hang.
        if let Some((at, error)) = &self.state().trouble
            && *at >= since
        {
            return Err(error.clone());
        }
        let fetched = self.fetch(transport, (realm, service, policy), (who, scope)).await;
        if let Err(error @ (Error::Unavailable { .. } | Error::RateLimited { .. })) = &fetched {
            self.state().trouble = Some((Instant::now(), error.clone()));
        }
        let token = fetched?;
        let value = bearer(&token.value)?;
        self.state().tokens.insert(key, token);
        Ok(value)
    }

    fn cached(&self, key: &(Who, String)) -> Option<HeaderValue> {
        let mut state = self.state();
        let now = Instant::now();
        state.tokens.retain(|_, token| token.until > now);
        state.tokens.get(key).and_then(|token| bearer(&token.value).ok())
    }

    async fn fetch(
        &self,
        transport: &Transport,
        (realm, service, policy): (&Url, &str, AddressPolicy),
        (who, scope): (&Who, &str),
    ) -> Result<Token, Error> {
        let login = if realm_belongs(&self.url, realm) {
            self.login(who).await
        } else {
            tracing::debug!(target: "hubcap::upstream", realm = realm.host_str(), "a foreign realm gets no login");
            &Login::Anonymous
        };
        let response = if let Login::Identity(token) = login {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([
                    ("grant_type", "refresh_token"),
                    ("client_id", "hubcap"),
                    ("service", service),
                ])
                .extend_pairs([("scope", scope), ("refresh_token", token.expose())])
                .finish();
            let request = transport
                .client(realm, policy)?
                .post(realm.clone())
                .timeout(transport.timeout())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form);
            request.send().await.map_err(Error::connection)?
        } else {
            let mut url = realm.clone();
            url.query_pairs_mut().append_pair("service", service).append_pair("scope", scope);
            let mut headers = HeaderMap::new();
            if let Login::Password(credentials) = login {
                headers.insert(header::AUTHORIZATION, basic(credentials));
            }
            transport.send(Request { method: Method::GET, url, headers, policy }).await?
        };
        let asked = Instant::now();
        match response.status().as_u16() {
            200 => {}
            status @ (401 | 403) => return Err(Error::Denied { status }),
            429 => {
                let retry_after = crate::ratelimit::retry_after(response.headers());
                return Err(Error::RateLimited { retry_after });
            }
            status => return Err(Error::unavailable(format!("the token service answered {status}"))),
        }
        let bytes = body::whole(response, MAX_ANSWER).await?;
        // The parser's own message would show the token.
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("the token service's answer is not the JSON of a token"))?;
        let value = answer.token.or(answer.access_token).unwrap_or_default();
        if value.is_empty() || value.len() > MAX_TOKEN {
            return Err(Error::invalid("the token service gave no usable token"));
        }
        let life =
            answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(Duration::from_secs(86_400));
        Ok(Token { value: Secret::new(value), until: asked + life.saturating_sub(MARGIN) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn basic(Credentials { username, password }: &Credentials) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    // Base64 is always a valid header value.
    let mut value =
        HeaderValue::from_str(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(&format!("Bearer {}", token.expose()))
        .ok_or_else(|| Error::invalid("the token has characters that no header can carry"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a login for `registry` may be sent to `realm`: the same host, or another one under the same owner's
/// domain, never out of TLS. Otherwise any registry could have the login of a user sent anywhere.
fn realm_belongs(registry: &Url, realm: &Url) -> bool {
    if is_loopback(registry) && is_loopback(realm) {
        return true;
    }
    if realm.scheme() != "https" && registry.scheme() == "https" {
        return false;
    }
    let (Some(registry), Some(realm)) = (registry.domain(), realm.domain()) else {
        return registry.host() == realm.host();
    };
    registry == realm || owner(registry).is_some_and(|domain| owner(realm) == Some(domain))
}

/// The part of a name that someone owns: the last two labels, or three below the likes of `co.uk`. Stricter than
/// the public suffix list where it is wrong for an owner, so a login is at worst not sent.
fn owner(name: &str) -> Option<&str> {
    let labels: Vec<&str> = name.rsplit('.').collect();
    let (top, second) = (labels.first()?, labels.get(1)?);
    let shared = top.len() == 2 && second.len() <= 3;
    // Hosts for everybody: each customer has a name of their own below these.
    let tenants = [
        "amazonaws.com",
        "appspot.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudfront.net",
        "fly.dev",
        "github.io",
        "herokuapp.com",
        "ngrok.io",
        "pages.dev",
        "pkg.dev",
        "run.app",
        "windows.net",
        "workers.dev",
    ];
    let two = format!("{second}.{top}");
    let count = if tenants.contains(&two.as_str()) {
        return None;
    } else if shared {
        3
    } else {
        2
    };
    (labels.len() >= count).then(|| {
        let length: usize = labels[..count].iter().map(|label| label.len() + 1).sum::<usize>() - 1;
        &name[name.len() - length..]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_only_where_the_registry_belongs() {
        let belongs = |registry: &str, realm: &str| {
            realm_belongs(&registry.parse().expect("a URL"), &realm.parse().expect("a URL"))
        };
        assert!(belongs("https://registry-1.docker.io", "https://auth.docker.io/token"));
        assert!(belongs("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(belongs("https://ghcr.io", "https://ghcr.io/token"));
        assert!(belongs("http://127.0.0.1:5000", "http://localhost:5001/token"));
        assert!(belongs("https://r.example.co.uk", "https://auth.example.co.uk"));
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://a.co.uk", "https://b.co.uk"),
            ("https://a.azurecr.io", "https://b.azurecr.io"),
            ("https://ghcr.io", "https://evil.io"),
            ("https://10.0.0.1", "https://10.0.0.2"),
        ] {
            assert!(!belongs(registry, realm), "{registry} {realm}");
        }
    }

    #[test]
    fn no_secret_is_shown_in_debug() {
        let credentials = Credentials { username: "me".into(), password: Secret::new("hunter2") };
        let auth = Auth::new("https://r.example".parse().expect("a URL"), Some(credentials.clone()));
        auth.state()
            .tokens
            .insert((Who::Own, "s".into()), Token { value: Secret::new("tok3n"), until: Instant::now() });
        let shown = format!("{auth:?} {:?} {:?}", basic(&credentials), bearer(&Secret::new("tok3n")));
        assert!(!shown.contains("hunter2") && !shown.contains("tok3n") && !shown.contains("bWU6"), "{shown}");
    }
}
