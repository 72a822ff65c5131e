//! The answers: one file for each noun of the distribution specification.

pub(crate) mod blob;
pub(crate) mod error;
mod held;
pub(crate) mod manifest;
mod multipart;
pub(crate) mod probe;
pub(crate) mod referrers;
pub(crate) mod tags;

use std::borrow::Cow;

use axum::body::Body;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use hubcap_cache::{Access, Outcome, RequestGuard};
use hubcap_oci::Endpoint;
use hyper::ext::ReasonPhrase;

use crate::resolve::Selector;

/// The longest reason in a status line, in characters. Clients have it in one line of their log.
const MAX_REASON: usize = 240;

/// A resolved request.
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) access: Access,
    pub(crate) selector: Selector<'a>,
}

/// An answer before it is a response: what the log and `Cache-Status` need is still in it.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) outcome: Outcome,
    /// `Content-Length`, told to a HEAD too; `None` only for what is passed through and whose length nobody told.
    pub(crate) length: Option<u64>,
    /// Counts it, until its body has gone out.
    pub(crate) guard: Option<RequestGuard>,
    headers: HeaderMap,
    /// The words after the status, where they are others than the status's own.
    reason: Option<ReasonPhrase>,
    body: Body,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, outcome: Outcome) -> Self {
        // For all that an answer has, so that it need not grow.
        let mut headers = HeaderMap::with_capacity(6);
        let version = HeaderName::from_static("docker-distribution-api-version");
        headers.insert(version, HeaderValue::from_static("registry/2.0"));
        Self { status, outcome, length: Some(0), guard: None, headers, reason: None, body: Body::empty() }
    }

    /// A registry's own answer, which is passed on as it is.
    pub(crate) fn passed(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        Self { status, outcome: Outcome::Passed, length: None, guard: None, headers, reason: None, body }
    }

    /// Counts it as an answer to this.
    pub(crate) fn counted(mut self, guard: RequestGuard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Adds a header; one whose value cannot be sent is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.insert(name, value);
        }
        self
    }

    /// The body, its type and its length.
    pub(crate) fn body(
        mut self,
        media_type: &str,
        length: impl Into<Option<u64>>,
        body: impl Into<Body>,
    ) -> Self {
        self.length = length.into();
        self.body = body.into();
        self.with(header::CONTENT_TYPE, media_type)
    }

    /// A small JSON document.
    pub(crate) fn json(self, media_type: &str, text: String) -> Self {
        self.body(media_type, text.len() as u64, text)
    }

    /// Says why after the status (RFC 9112, section 4): every client of today shows that, and of an answer to a HEAD nothing else.
    pub(crate) fn because(mut self, why: &str) -> Self {
        let name = self.status.canonical_reason().unwrap_or_default();
        let visible = |char: char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' };
        let why: String = why.chars().take(MAX_REASON).map(visible).collect();
        self.reason = ReasonPhrase::try_from(format!("{name} (hubcap: {why})")).ok();
        self
    }

    /// Tells `?ns=` back, as the specification asks of a registry that answers for another.
    pub(crate) fn for_namespace(self, namespace: Option<&str>) -> Self {
        match namespace {
            Some(namespace) => self.with(HeaderName::from_static("oci-namespace"), namespace),
            None => self,
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let name = HeaderName::from_static("cache-status");
        let reply = match self.outcome.cache_status() {
            Cow::Borrowed(status) => self.with(name, HeaderValue::from_static(status)),
            Cow::Owned(status) => self.with(name, status),
        };
        let reply = match reply.length {
            Some(length) => reply.with(header::CONTENT_LENGTH, length),
            None => reply,
        };
        let mut response = Response::new(reply.body);
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        if let Some(reason) = reply.reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// end-1. Always 200: a challenge here would make dockerd send the user's login to us.
pub(crate) fn version() -> Reply {
    Reply::new(StatusCode::OK, Outcome::Local).json("application/json", "{}".into())
}

pub(crate) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
