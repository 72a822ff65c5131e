//! One request: its time limits, the connection that it goes over, and the redirects that it follows.

mod clients;

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri, header};
use reqwest::{Client, Response};
use url::Url;

use crate::address::{AddressPolicy, is_loopback};
use crate::connection::{Connection, begin_anew, first_answer};
use crate::error::{Error, Failed};
use crate::plain::Plain;
use crate::redirect::{self, MAX_REDIRECTS};
use crate::request::Request;
use clients::Clients;

/// This part of the time limit is the patience with a connection that was used before.
const PATIENCE: u32 = 5;

/// The HTTP clients.
#[derive(Debug)]
pub(crate) struct Transport {
    timeout: Duration,
    clients: Clients,
    plain: OnceLock<Plain>,
}

impl Transport {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, clients: Clients::new(timeout), plain: OnceLock::new() }
    }

    /// How long the headers of an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long an answer over a connection that was used before is waited for, before a fresh one is tried too.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout / PATIENCE
    }

    /// The client for requests that are passed through.
    pub(crate) fn client(
        &self,
        url: &Url,
        policy: AddressPolicy,
        connection: Connection,
    ) -> Result<&Client, Error> {
        self.clients.get(url, policy, connection)
    }

    /// Makes the client for a URL. A failure is told by the request that needs it.
    pub(crate) fn prepare(&self, url: &Url, policy: AddressPolicy) {
        if self.plain(url, policy).is_none() {
            let _ = self.client(url, policy, Connection::Pooled);
        }
    }

    /// Sends a request, and waits for the headers of its answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no answer in time; [`Error::NotAllowed`] and [`Error::Invalid`] for what the
    /// address policy and the rules for redirects refuse.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Response, Failed> {
        let first = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let is_elsewhere = request.url.origin() != first.origin();
            let failed = |error| Failed { error, is_elsewhere };
            let response = self.send_once(&request).await.map_err(failed)?;
            if !request.redirects.follows(response.status()) {
                return Ok(response);
            }
            request = redirect::follow(request, &response, &first).map_err(failed)?;
        }
        Err(Failed::here(Error::invalid(format!("more than {MAX_REDIRECTS} redirects"))))
    }

    /// Sends a request that must not be sent twice, or is long, and waits up to `patience` for the headers of its answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no answer in time.
    pub(crate) async fn send_only_once(
        &self,
        request: &Request,
        connection: Connection,
        patience: Duration,
    ) -> Result<Response, Error> {
        let sending = self.send_over(request, connection);
        tokio::time::timeout(patience, sending).await.unwrap_or_else(|_| Err(late(request, patience)))
    }

    async fn send_once(&self, request: &Request) -> Result<Response, Error> {
        // Whatever is sent here may be sent twice: GET, HEAD, the form that asks for a token, and a question to a cache.
        let fresh = || self.send_over(request, Connection::Fresh);
        let pooled = self.send_over(request, Connection::Pooled);
        let answering = first_answer(pooled, fresh, self.patience(), is_dead);
        tokio::time::timeout(self.timeout, answering)
            .await
            .unwrap_or_else(|_| Err(late(request, self.timeout)))
    }

    async fn send_over(&self, request: &Request, connection: Connection) -> Result<Response, Error> {
        let Request { method, url, policy, .. } = request;
        let mut headers = request.headers.clone();
        headers.extend(request.authorization().map(|value| (header::AUTHORIZATION, value.clone())));
        let body = match &request.form {
            Some(form) => Bytes::from(form.text.expose().to_owned()),
            None => request.body.clone(),
        };
        if let Some((plain, uri)) = self.plain(url, *policy) {
            let mut asked = http::Request::new(body.clone().into());
            *asked.method_mut() = method.clone();
            *asked.uri_mut() = uri;
            *asked.headers_mut() = headers.clone();
            if let Some(response) = plain.send(asked, url, connection).await? {
                return Ok(response);
            }
            begin_anew();
        }
        let client = self.clients.get(url, *policy, connection)?;
        let mut sending = client.request(method.clone(), url.clone()).headers(headers);
        if !body.is_empty() {
            sending = sending.body(body);
        }
        sending.send().await.map_err(Error::connection)
    }

    /// The client for plain HTTP, and the address as it takes it, where that is what a request needs.
    fn plain(&self, url: &Url, policy: AddressPolicy) -> Option<(&Plain, Uri)> {
        if policy != AddressPolicy::Any || url.scheme() != "http" {
            return None;
        }
        let plain = self.plain.get_or_init(|| Plain::new(self.timeout));
        let uri = url.as_str().parse().ok()?;
        (is_loopback(url) || plain.reaches(&uri)).then_some((plain, uri))
    }
}

fn late(request: &Request, patience: Duration) -> Error {
    let host = request.url.host_str().unwrap_or_default();
    Error::silent(format!("{host} did not answer within {} s", patience.as_secs_f32()))
}

/// Whether an answer over a connection that was used before says that the connection has ended: none, or the 408 that
/// some servers send before they close it.
pub(crate) fn is_dead(answered: &Result<Response, Error>) -> bool {
    match answered {
        Ok(response) => response.status() == StatusCode::REQUEST_TIMEOUT,
        Err(error) => matches!(error, Error::Unavailable { .. }),
    }
}
