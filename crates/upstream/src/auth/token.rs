//! A request to a token service (distribution's token specification).

use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use reqwest::Response;
use url::{Url, form_urlencoded};

use super::answer::Answer;
use super::header::basic;
use crate::address::AddressPolicy;
use crate::body;
use crate::credentials::{Login, Secret};
use crate::error::Error;
use crate::memory::PATIENCE;
use crate::request::{Authorization, Form, Reach, Request};
use crate::status::judge;
use crate::transport::Transport;

/// A token is not used in its last seconds, or in the second half of a short life: the request that carries it takes its time.
const MARGIN: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a token has some KiB.
const MAX_ANSWER: usize = 1 << 20;

/// A token service, as a registry's challenge names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Realm {
    pub(super) url: Url,
    pub(super) service: Option<String>,
    /// To which addresses its requests may go.
    pub(super) policy: AddressPolicy,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) until: Instant,
}

/// What is asked of a token service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Whose login it is: a redirect takes it nowhere else.
    pub(super) registry: &'a Url,
    pub(super) scopes: &'a [String],
    pub(super) login: &'a Login,
}

impl Realm {
    /// Asks for a token.
    ///
    /// # Errors
    /// [`Error::Denied`] and [`Error::RateLimited`] as the service says them, [`Error::Invalid`] for another status of the
    /// 400s and for an answer without a usable token, [`Error::Unavailable`] for any other status.
    pub(super) async fn token(&self, transport: &Transport, wish: Wish<'_>) -> Result<Token, Error> {
        let (asked, response) = (Instant::now(), self.ask(transport, wish).await?);
        let service = self.url.host_str().unwrap_or_default();
        let bytes = match body::whole(response, service, MAX_ANSWER, PATIENCE).await {
            // It broke off in the middle.
            Err(Error::Unavailable { .. }) => {
                body::whole(self.ask(transport, wish).await?, service, MAX_ANSWER, PATIENCE).await?
            }
            bytes => bytes?,
        };
        let Answer { token, life } = Answer::read(&bytes)?;
        Ok(Token { value: token, until: asked + usable(life) })
    }

    async fn ask(&self, transport: &Transport, wish: Wish<'_>) -> Result<Response, Error> {
        let response = match wish.login {
            Login::Identity(_) => self.post(transport, wish).await?,
            login => {
                let got = self.get(transport, wish).await?;
                // Some services take logins, or anything, only by POST.
                let is_post_wanted = match got.status().as_u16() {
                    404 | 405 | 501 => true,
                    400 | 401 => matches!(login, Login::Password(_)),
                    _ => false,
                };
                let posted = if is_post_wanted { self.post(transport, wish).await.ok() } else { None };
                posted.filter(|posted| posted.status().is_success()).unwrap_or(got)
            }
        };
        let status = response.status();
        if !status.is_success() {
            let told = format!("the token service answered {}", status.as_u16());
            return Err(match judge(response) {
                Err(error @ (Error::Denied { .. } | Error::RateLimited { .. })) => error,
                _ if status.is_client_error() => Error::invalid(told),
                _ => Error::unavailable(told),
            });
        }
        Ok(response)
    }

    async fn get(&self, transport: &Transport, wish: Wish<'_>) -> Result<Response, Error> {
        let mut url = self.url.clone();
        let mut authorizations = Vec::new();
        let mut parameters: Vec<(&str, &str)> =
            self.service.iter().map(|service| ("service", service.as_str())).collect();
        parameters.extend(wish.scopes.iter().map(|scope| ("scope", scope.as_str())));
        if let Login::Password(credentials) = wish.login {
            parameters.push(("account", &credentials.username));
            let reach = Reach::Owner(wish.registry.clone());
            authorizations.push(Authorization { value: basic(credentials), reach });
        }
        // The realm may have some of them already.
        parameters
            .retain(|&(name, value)| !self.url.query_pairs().any(|pair| pair == (name.into(), value.into())));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let request = Request::new(Method::GET, url, HeaderMap::new(), self.policy);
        Ok(transport.send(Request { authorizations, ..request }).await?)
    }

    /// As OAuth 2 has it.
    async fn post(&self, transport: &Transport, wish: Wish<'_>) -> Result<Response, Error> {
        let (grant, login) = match wish.login {
            Login::Identity(refresh) => ("refresh_token", vec![("refresh_token", refresh.expose())]),
            Login::Password(credentials) => {
                let password = credentials.password.expose();
                ("password", vec![("username", credentials.username.as_str()), ("password", password)])
            }
            Login::Anonymous | Login::Token(_) => ("password", Vec::new()),
        };
        let reach = if login.is_empty() { Reach::Everybody } else { Reach::Owner(wish.registry.clone()) };
        let text = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", grant), ("client_id", "hubcap")])
            .extend_pairs(self.service.iter().map(|service| ("service", service)))
            .append_pair("scope", &wish.scopes.join(" "))
            .extend_pairs(login)
            .finish();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = [(header::CONTENT_TYPE, form_type)].into_iter().collect();
        let request = Request::new(Method::POST, self.url.clone(), headers, self.policy);
        let form = Some(Form { text: Secret::new(text), reach });
        Ok(transport.send(Request { form, ..request }).await?)
    }
}

/// For how much of its life a token is used.
fn usable(life: Duration) -> Duration {
    life - MARGIN.min(life / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_for_at_least_half_of_its_life() {
        for (life, used) in [(300, 295), (10, 5), (4, 2)] {
            assert_eq!(usable(Duration::from_secs(life)), Duration::from_secs(used));
        }
    }
}
