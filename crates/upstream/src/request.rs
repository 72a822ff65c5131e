//! A request: as a pull has them, without a body, but for the form that asks for a token; or a call or an upload to a cache.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use hubcap_oci::ByteRange;
use url::{Origin, Url};

use crate::address::AddressPolicy;
use crate::credentials::Secret;
use crate::owner::belongs;
use crate::status::is_redirect;

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
    /// The values of `Authorization` that it may carry, each to some hosts.
    pub(crate) authorizations: Vec<Authorization>,
    pub(crate) form: Option<Form>,
    /// What else is sent. Redirects are not to be followed with it.
    pub(crate) body: Bytes,
}

/// A value of `Authorization` (RFC 9110, section 11.6.2), and to whom it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) value: HeaderValue,
    pub(crate) reach: Reach,
}

/// What is posted (`application/x-www-form-urlencoded`), and to whom it may be shown.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) text: Secret,
    pub(crate) reach: Reach,
}

/// Which hosts may see something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This one.
    Origin(Origin),
    /// Those to which a login of the registry at this address belongs.
    Owner(Url),
    /// All.
    Everybody,
}

impl Reach {
    pub(crate) fn includes(&self, url: &Url) -> bool {
        match self {
            Self::Origin(origin) => *origin == url.origin(),
            Self::Owner(registry) => belongs(registry, url),
            Self::Everybody => true,
        }
    }
}

/// What becomes of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    Follow,
    /// A 303 is the answer: it leads to something else than what was asked for (RFC 9110, section 15.4.4).
    FollowSame,
    /// The redirect itself is the answer.
    Return,
}

impl Redirects {
    /// Whether an answer of this status is followed.
    pub(crate) fn follows(self, status: StatusCode) -> bool {
        match self {
            Self::Follow => is_redirect(status),
            Self::FollowSame => is_redirect(status) && status != StatusCode::SEE_OTHER,
            Self::Return => false,
        }
    }
}

impl Request {
    /// A request whose redirects are followed. It asks for bodies as they are: a packed one has another digest.
    pub(crate) fn new(method: Method, url: Url, mut headers: HeaderMap, policy: AddressPolicy) -> Self {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let redirects = Redirects::Follow;
        let (authorizations, form, body) = (Vec::new(), None, Bytes::new());
        Self { method, url, headers, policy, redirects, authorizations, form, body }
    }

    /// The same request, whose redirects are treated so.
    pub(crate) fn with_redirects(self, redirects: Redirects) -> Self {
        Self { redirects, ..self }
    }

    /// The value of `Authorization` for where it goes now.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorizations.iter().find(|one| one.reach.includes(&self.url)).map(|one| &one.value)
    }
}

/// `Range` for several ranges, in this order.
pub(crate) fn several(ranges: &[ByteRange]) -> HeaderMap {
    let specs: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    let value = HeaderValue::from_str(&format!("bytes={}", specs.join(",")));
    value.into_iter().map(|value| (header::RANGE, value)).collect()
}

/// `Range` (RFC 9110, section 14.2), for the bytes from `start` to `end`, or to the content's own end.
pub(crate) fn range(start: u64, end: Option<u64>) -> HeaderMap {
    let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
    let value = HeaderValue::from_str(&format!("bytes={start}-{last}"));
    value.into_iter().map(|value| (header::RANGE, value)).collect()
}
