//! The one place where an error becomes a status, chosen for how clients retry.
//!
//! A mirror that cannot help says 404: dockerd, containerd and podman then go on to the next endpoint at once. A 429
//! or a 5xx makes them try the same mirror again, for up to 50 seconds. What really happened is in the message.
//!
//! What a registry refuses is refused with its own status, except for blobs: dockerd tries a blob again for as long, unless
//! the mirror says that it has none.

use std::time::Duration;

use http::{StatusCode, header};
use hubcap_cache::{Error, Failure, Outcome};
use hubcap_oci::endpoint::NotAnEndpoint;
use hubcap_oci::{Endpoint, ErrorCode, ParseError, Registry};

use crate::api::{Asked, Reply};
use crate::resolve::Unknown;

/// What was asked for: it decides the code of a 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Manifest,
    Blob,
    Name,
}

impl Noun {
    const fn unknown(self) -> ErrorCode {
        match self {
            Self::Manifest => ErrorCode::ManifestUnknown,
            Self::Blob => ErrorCode::BlobUnknown,
            Self::Name => ErrorCode::NameUnknown,
        }
    }
}

/// Answers a failure of the cache.
pub(crate) fn failed(failure: &Failure, noun: Noun, asked: &Asked<'_>) -> Reply {
    let Failure { error, outcome } = failure;
    let code = match error {
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
    reply(status(error, noun, asked.selector.no_fallback()), code, &error.to_string(), *outcome)
}

/// The status of an error. A client with `no_fallback` must not take a failure of hubcap, or on the way, for the registry's
/// word: a 404 would say that the registry does not have it.
fn status(error: &Error, noun: Noun, no_fallback: bool) -> StatusCode {
    match error {
        Error::Refused { status } if no_fallback || noun != Noun::Blob => {
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
        | Error::Internal { .. } => {
            if no_fallback {
                StatusCode::BAD_GATEWAY
            } else {
                StatusCode::NOT_FOUND
            }
        }
    }
}

/// What could not be passed to the registry.
pub(crate) fn not_passed(error: &Error, registry: &Registry) -> Reply {
    tracing::warn!(target: "hubcap::api", upstream = %registry, "not passed on: {error}");
    reply(StatusCode::BAD_GATEWAY, ErrorCode::Denied, &error.to_string(), Outcome::Failed)
}

/// A registry that nobody allowed.
pub(crate) fn unknown_registry(endpoint: &Endpoint, Unknown(why): &Unknown) -> Reply {
    let noun = match endpoint {
        Endpoint::Blob { .. } => Noun::Blob,
        Endpoint::Manifest { .. } => Noun::Manifest,
        _ => Noun::Name,
    };
    tracing::warn!(target: "hubcap::api", "{why}");
    reply(StatusCode::NOT_FOUND, noun.unknown(), why, Outcome::Local)
}

/// An answer that did not come.
pub(crate) fn too_slow(limit: Duration) -> Reply {
    let message = format!("hubcap found no answer within {} s", limit.as_secs());
    tracing::warn!(target: "hubcap::api", "{message}");
    reply(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, &message, Outcome::Failed)
}

/// Anything that writes.
pub(crate) fn unsupported() -> Reply {
    let message = "hubcap only serves pulls; push to the registry itself";
    reply(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message, Outcome::Local)
        .with(header::ALLOW, "GET, HEAD")
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
    Reply::new(status, outcome).json("application/json", code.body(message, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_on_the_way_is_a_404_where_the_client_can_fall_back_and_a_502_where_it_cannot() {
        let why = String::new;
        for (error, mirror, no_fallback) in [
            (Error::Denied, 403, 403),
            (Error::NotFound, 404, 404),
            (Error::Refused { status: 413 }, 413, 413),
            (Error::UnknownRegistry(Registry::docker_hub()), 404, 404),
            (Error::NotAllowed { why: why() }, 404, 404),
            (Error::NotLocked { name: why() }, 404, 404),
            (Error::Unavailable { why: why() }, 404, 502),
            (Error::Offline, 404, 502),
            (Error::WrongContent { why: why() }, 404, 502),
            (Error::NoRoom { why: why() }, 404, 502),
            (Error::Internal { why: why() }, 404, 502),
        ] {
            assert_eq!(status(&error, Noun::Manifest, false).as_u16(), mirror, "{error}");
            assert_eq!(status(&error, Noun::Manifest, true).as_u16(), no_fallback, "{error}");
        }
    }

    #[test]
    fn a_refused_blob_is_a_404_where_the_client_can_fall_back() {
        let error = Error::Refused { status: 400 };
        assert_eq!(status(&error, Noun::Blob, false), StatusCode::NOT_FOUND);
        assert_eq!(status(&error, Noun::Blob, true), StatusCode::BAD_REQUEST);
        assert_eq!(status(&error, Noun::Name, false), StatusCode::BAD_REQUEST);
    }
}
