//! A request without a body, as all of a pull's are.

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use url::Url;

use crate::address::AddressPolicy;

/// How hubcap names itself.
pub(crate) const USER_AGENT: &str = concat!("hubcap/", env!("CARGO_PKG_VERSION"));

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// To which addresses it may go.
    pub(crate) policy: AddressPolicy,
    pub(crate) redirects: Redirects,
}

/// What becomes of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    Follow,
    /// The redirect itself is the answer.
    Return,
}

impl Request {
    /// A request whose redirects are followed.
    pub(crate) const fn new(method: Method, url: Url, headers: HeaderMap, policy: AddressPolicy) -> Self {
        Self { method, url, headers, policy, redirects: Redirects::Follow }
    }

    /// The same request, whose redirects are returned.
    pub(crate) fn without_redirects(self) -> Self {
        Self { redirects: Redirects::Return, ..self }
    }
}

/// `Range` (RFC 9110, section 14.2), for the bytes from `start` to `end`, or to the content's own end.
pub(crate) fn range(start: u64, end: Option<u64>) -> HeaderMap {
    let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
    let value = HeaderValue::from_str(&format!("bytes={start}-{last}"));
    value.into_iter().map(|value| (header::RANGE, value)).collect()
}
