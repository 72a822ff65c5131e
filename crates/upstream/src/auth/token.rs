//! A request to a token service (distribution's token specification), and its answer.

use std::time::{Duration, Instant};

use http::{HeaderMap, Method, header};
use reqwest::Response;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::header::basic;
use crate::address::AddressPolicy;
use crate::body;
use crate::credentials::{Login, Secret};
use crate::error::Error;
use crate::request::Request;
use crate::status::judge;
use crate::transport::Transport;

/// How long a token without `expires_in` is good, as the specification says.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// A token is not used in its last seconds: the request that carries it takes its time.
const MARGIN: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a token has some KiB.
const MAX_ANSWER: usize = 1 << 20;
/// The longest token, in bytes: what fits into one header of any server.
const MAX_TOKEN: usize = 16 << 10;

/// A token service, as a registry's challenge names it.
#[derive(Debug, Clone)]
pub(super) struct Realm {
    pub(super) url: Url,
    pub(super) service: String,
    /// To which addresses its requests may go.
    pub(super) policy: AddressPolicy,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Realm {
    /// Asks for a token for `scope`.
    ///
    /// # Errors
    /// [`Error::Denied`] and [`Error::RateLimited`] as the service says them; [`Error::Unavailable`] for any other
    /// status, [`Error::Invalid`] for an answer without a usable token.
    pub(super) async fn token(
        &self,
        transport: &Transport,
        scope: &str,
        login: &Login,
    ) -> Result<Token, Error> {
        let response = match login {
            Login::Identity(refresh) => self.post(transport, scope, refresh).await?,
            Login::Password(_) | Login::Anonymous => self.get(transport, scope, login).await?,
        };
        let asked = Instant::now();
        let status = response.status().as_u16();
        let response = judge(response).map_err(|error| match error {
            Error::Denied { .. } | Error::RateLimited { .. } => error,
            _ => Error::unavailable(format!("the token service answered {status}")),
        })?;
        let bytes = body::whole(response, MAX_ANSWER).await?;
        // The parser's own message would show the token.
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("the token service's answer is not the JSON of a token"))?;
        let value = answer.token.or(answer.access_token).unwrap_or_default();
        if value.is_empty() || value.len() > MAX_TOKEN {
            return Err(Error::invalid("the token service gave no usable token"));
        }
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE);
        Ok(Token { value: Secret::new(value), until: asked + life.saturating_sub(MARGIN) })
    }

    async fn get(&self, transport: &Transport, scope: &str, login: &Login) -> Result<Response, Error> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("service", &self.service).append_pair("scope", scope);
        let mut headers = HeaderMap::new();
        if let Login::Password(credentials) = login {
            headers.insert(header::AUTHORIZATION, basic(credentials));
        }
        transport.send(Request::new(Method::GET, url, headers, self.policy).without_redirects()).await
    }

    async fn post(&self, transport: &Transport, scope: &str, refresh: &Secret) -> Result<Response, Error> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "refresh_token"),
                ("client_id", "hubcap"),
                ("service", &self.service),
                ("scope", scope),
                ("refresh_token", refresh.expose()),
            ])
            .finish();
        let request = transport
            .client(&self.url, self.policy)?
            .post(self.url.clone())
            .timeout(transport.timeout())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        request.send().await.map_err(Error::connection)
    }
}
