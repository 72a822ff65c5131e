//! The one place where an error becomes a status, chosen for how clients go on: [`Fallback`].
//!
//! What a registry refuses is refused with its own status, except for blobs: dockerd tries a blob again for up to 75 s, unless
//! the mirror says that it has none. What really happened is in the message, and where the status tells of trouble after it.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use hubcap_cache::{Error, Failure, Outcome};
use hubcap_oci::endpoint::NotAnEndpoint;
use hubcap_oci::referrer::is_tag_of_a_subject;
use hubcap_oci::{Endpoint, ErrorCode, ParseError, Reference, Registry};

use crate::api::{Asked, Reply};
use crate::resolve::{Selector, Unknown};

/// After which answers a client asks its next endpoint. docs/decisions.md has the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// After any, at once: containerd's resolver, which is in dockerd and BuildKit too, asks so for manifests and blobs. Where
    /// no endpoint has it, the first status that is not 404 is what its user is shown.
    AfterAny,
    /// At once only after a 404: dockerd and podman. After a 5xx dockerd asks for a blob for 50 to 75 s more.
    AfterNotFound,
    /// Only after a 404: containerd asks so for referrers. Anything else ends the pull.
    OnlyAfterNotFound,
    /// There is none: the client takes hubcap for the registry.
    Nowhere,
}

impl Fallback {
    /// That of a client that asks so; no endpoint for a path that is none.
    pub(crate) fn of(selector: Selector<'_>, endpoint: Option<&Endpoint>) -> Self {
        match (selector, endpoint) {
            (Selector::Connect(_), _) => Self::Nowhere,
            (Selector::Namespace(_), Some(Endpoint::Referrers { .. })) => Self::OnlyAfterNotFound,
            (Selector::Namespace(_), Some(Endpoint::Manifest { reference: Reference::Tag(tag), .. }))
                if is_tag_of_a_subject(tag) =>
            {
                Self::OnlyAfterNotFound
            }
            (Selector::Namespace(_), Some(Endpoint::Manifest { .. } | Endpoint::Blob { .. })) => {
                Self::AfterAny
            }
            _ => Self::AfterNotFound,
        }
    }

    /// The status of a failure of hubcap, or on the way. A 404 says what may not be so, that the registry does not have it.
    const fn of_trouble(self) -> StatusCode {
        match self {
            Self::AfterAny | Self::Nowhere => StatusCode::BAD_GATEWAY,
            Self::AfterNotFound | Self::OnlyAfterNotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// What was asked for: it decides the code of a 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noun {
    Manifest,
    Blob,
    Name,
}

impl Noun {
    const fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Blob { .. } => Self::Blob,
            Endpoint::Manifest { .. } => Self::Manifest,
            _ => Self::Name,
        }
    }

    const fn unknown(self) -> ErrorCode {
        match self {
            Self::Manifest => ErrorCode::ManifestUnknown,
            Self::Blob => ErrorCode::BlobUnknown,
            Self::Name => ErrorCode::NameUnknown,
        }
    }
}

/// Answers a failure of the cache.
pub(crate) fn failed(failure: &Failure, asked: &Asked<'_>) -> Reply {
    let Failure { error, outcome } = failure;
    let (noun, fallback) = (Noun::of(asked.endpoint), Fallback::of(asked.selector, Some(asked.endpoint)));
    let status = status(error, noun, fallback);
    let code = match error {
        _ if status.is_server_error() => ErrorCode::Unavailable,
        Error::Denied => ErrorCode::Denied,
        Error::Refused { .. } if noun != Noun::Blob => ErrorCode::Unsupported,
        Error::UnsatisfiableRange { .. } => ErrorCode::Unsupported,
        _ => noun.unknown(),
    };
    let is_usual = matches!(
        error,
        Error::NotFound
            | Error::Denied
            | Error::Offline
            | Error::NotLocked { .. }
            | Error::UnsatisfiableRange { .. }
    );
    if !is_usual {
        let path = asked.parts.uri.path();
        tracing::warn!(target: "hubcap::api", upstream = %asked.access.target.registry, path, "not answered: {error}");
    }
    reply(status, code, &error.to_string(), *outcome)
}

fn status(error: &Error, noun: Noun, fallback: Fallback) -> StatusCode {
    match error {
        _ if fallback == Fallback::OnlyAfterNotFound => StatusCode::NOT_FOUND,
        Error::Refused { status } if fallback == Fallback::Nowhere || noun != Noun::Blob => {
            StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND)
        }
        Error::Denied => StatusCode::FORBIDDEN,
        Error::UnsatisfiableRange { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Error::NotFound
        | Error::Refused { .. }
        | Error::UnknownRegistry(_)
        | Error::NotAllowed { .. }
        | Error::NotLocked { .. } => StatusCode::NOT_FOUND,
        Error::Unavailable { .. }
        | Error::Offline
        | Error::WrongContent { .. }
        | Error::NoRoom { .. }
        | Error::Internal { .. } => fallback.of_trouble(),
    }
}

/// What could not be passed to the registry.
pub(crate) fn not_passed(error: &Error, registry: &Registry) -> Reply {
    tracing::warn!(target: "hubcap::api", upstream = %registry, "not passed on: {error}");
    reply(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, &error.to_string(), Outcome::Failed)
}

/// A registry that nobody allowed.
pub(crate) fn unknown_registry(endpoint: &Endpoint, Unknown(why): &Unknown) -> Reply {
    tracing::warn!(target: "hubcap::api", "{why}");
    reply(StatusCode::NOT_FOUND, Noun::of(endpoint).unknown(), why, Outcome::Local)
}

/// An answer that did not come.
pub(crate) fn too_slow(limit: Duration, fallback: Fallback) -> Reply {
    let message = format!("no answer was found within {} s", limit.as_secs());
    tracing::warn!(target: "hubcap::api", "{message}");
    reply(fallback.of_trouble(), ErrorCode::Unavailable, &message, Outcome::Failed)
}

/// A blob whose length its registry does not tell, for a client of HTTP/1.0: that could not tell where it is cut from its end. It is
/// fetched all the same, and then its length is known.
pub(crate) fn untold_end(asked: &Asked<'_>) -> Reply {
    let message = "the registry does not tell the length of this blob, and HTTP/1.0 cannot tell its end: ask by HTTP/1.1 \
        (nginx: proxy_http_version 1.1), or again later";
    tracing::warn!(target: "hubcap::api", "not answered: {message}");
    let fallback = Fallback::of(asked.selector, Some(asked.endpoint));
    reply(fallback.of_trouble(), ErrorCode::Unavailable, message, Outcome::Failed)
}

/// A request by a name that is not this machine's (RFC 9110, section 15.5.20).
pub(crate) fn misdirected(host: &HeaderValue) -> Reply {
    let host: String = String::from_utf8_lossy(host.as_bytes()).chars().take(128).collect();
    let message = format!(
        "{host:?} is no name of this hubcap, and may be that of a stranger's web page. If it is one of \
        this machine, start hubcap with --name"
    );
    tracing::warn!(target: "hubcap::api", "refused: {message}");
    reply(StatusCode::MISDIRECTED_REQUEST, ErrorCode::Denied, &message, Outcome::Local)
}

/// Anything that writes.
pub(crate) fn unsupported() -> Reply {
    let message = "hubcap only serves pulls; push to the registry itself";
    reply(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message, Outcome::Local)
        .with(header::ALLOW, "GET, HEAD")
}

/// What a registry has no use for: a tunnel, or an echo.
pub(crate) fn not_for_a_registry(method: &Method) -> Reply {
    let message = format!("{method} is not passed on to a registry");
    reply(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, &message, Outcome::Local)
}

/// Answers a path that is no endpoint.
pub(crate) fn not_an_endpoint(error: &NotAnEndpoint, path: &str) -> Reply {
    match error {
        NotAnEndpoint::UnknownPath => unknown_path(path),
        NotAnEndpoint::Name(error) => bad_request(ErrorCode::NameInvalid, error),
        NotAnEndpoint::Reference(error) if error.what == "digest" => {
            bad_request(ErrorCode::DigestInvalid, error)
        }
        NotAnEndpoint::Reference(error) => bad_request(ErrorCode::ManifestUnknown, error),
    }
}

fn unknown_path(path: &str) -> Reply {
    let shown: String = path.chars().take(128).collect();
    let message = format!("{shown:?} is no path of the pull side of the distribution specification");
    reply(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, &message, Outcome::Local)
}

fn bad_request(code: ErrorCode, error: &ParseError) -> Reply {
    reply(StatusCode::BAD_REQUEST, code, &error.to_string(), Outcome::Local)
}

fn reply(status: StatusCode, code: ErrorCode, message: &str, outcome: Outcome) -> Reply {
    let reply = Reply::new(status, outcome).json("application/json", code.body(message, ""));
    if status.is_server_error() { reply.because(message) } else { reply }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FALLBACKS: [Fallback; 4] =
        [Fallback::AfterAny, Fallback::AfterNotFound, Fallback::OnlyAfterNotFound, Fallback::Nowhere];

    #[test]
    fn trouble_is_told_where_the_client_goes_on_all_the_same_or_has_nowhere_to_go() {
        let why = String::new;
        for (error, statuses) in [
            (Error::Denied, [403, 403, 404, 403]),
            (Error::NotFound, [404, 404, 404, 404]),
            (Error::Refused { status: 413 }, [413, 413, 404, 413]),
            (Error::UnknownRegistry(Registry::docker_hub()), [404, 404, 404, 404]),
            (Error::NotAllowed { why: why() }, [404, 404, 404, 404]),
            (Error::NotLocked { name: why() }, [404, 404, 404, 404]),
            (Error::Unavailable { why: why() }, [502, 404, 404, 502]),
            (Error::Offline, [502, 404, 404, 502]),
            (Error::WrongContent { why: why() }, [502, 404, 404, 502]),
            (Error::NoRoom { why: why() }, [502, 404, 404, 502]),
            (Error::Internal { why: why() }, [502, 404, 404, 502]),
        ] {
            let got = FALLBACKS.map(|fallback| status(&error, Noun::Manifest, fallback).as_u16());
            assert_eq!(got, statuses, "{error}");
        }
    }

    #[test]
    fn a_refused_blob_is_a_404_where_the_client_can_fall_back() {
        let error = Error::Refused { status: 400 };
        let got = FALLBACKS.map(|fallback| status(&error, Noun::Blob, fallback).as_u16());
        assert_eq!(got, [404, 404, 404, 400]);
        assert_eq!(status(&error, Noun::Name, Fallback::AfterNotFound), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_a_client_asks_and_how_tells_where_it_goes_on() {
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let hub = Registry::docker_hub();
        for (path, by_namespace) in [
            ("manifests/1".into(), Fallback::AfterAny),
            (format!("manifests/sha256:{hash}"), Fallback::AfterAny),
            (format!("blobs/sha256:{hash}"), Fallback::AfterAny),
            (format!("manifests/sha256-{hash}.sig"), Fallback::AfterAny),
            (format!("manifests/sha256-{hash}"), Fallback::OnlyAfterNotFound),
            (format!("referrers/sha256:{hash}"), Fallback::OnlyAfterNotFound),
            ("tags/list".into(), Fallback::AfterNotFound),
        ] {
            let endpoint = Endpoint::parse(&format!("/v2/a/b/{path}"), None).expect("an endpoint");
            let of = |selector| Fallback::of(selector, Some(&endpoint));
            assert_eq!(of(Selector::Namespace("docker.io")), by_namespace, "{path}");
            assert_eq!(of(Selector::Path), Fallback::AfterNotFound, "{path}");
            assert_eq!(of(Selector::Connect(&hub)), Fallback::Nowhere, "{path}");
        }
    }

    #[test]
    fn the_reason_of_trouble_is_after_the_status_in_visible_characters() {
        let error = Error::Unavailable { why: "no\r\nroute é".into() };
        let reply =
            reply(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, &error.to_string(), Outcome::Failed);
        let response = reply.into_response();
        let reason = response.extensions().get::<hyper::ext::ReasonPhrase>().expect("a reason");
        let words = "Bad Gateway (hubcap: the upstream cannot be used now: no??route ?)";
        assert_eq!(reason.as_bytes(), words.as_bytes());
    }
}
