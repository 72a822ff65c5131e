//! The one place where an error becomes a status, chosen for how clients retry.
//!
//! A mirror that cannot help says 404: dockerd, containerd and podman then go on to the next endpoint at once. A 429
//! or a 5xx makes them try the same mirror again, for up to 50 seconds. What really happened is in the message.

use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode, header};
use hubcap_cache::{Error, Failure, Outcome};
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

/// A failure of the cache.
pub(crate) fn failed(failure: &Failure, noun: Noun, asked: &Asked<'_>) -> Reply {
    let (status, code) = match failure.error {
        Error::Denied => (StatusCode::FORBIDDEN, ErrorCode::Denied),
        Error::UnsatisfiableRange { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::Unsupported),
        // A 404 would say that the registry does not have it.
        Error::Unavailable { .. }
        | Error::Offline
        | Error::WrongContent { .. }
        | Error::NoRoom { .. }
        | Error::Internal { .. }
            if asked.no_fallback =>
        {
            (StatusCode::BAD_GATEWAY, noun.unknown())
        }
        Error::NotFound
        | Error::UnknownRegistry(_)
        | Error::NotAllowed { .. }
        | Error::Unavailable { .. }
        | Error::Offline
        | Error::NotLocked { .. }
        | Error::WrongContent { .. }
        | Error::NoRoom { .. }
        | Error::Internal { .. } => (StatusCode::NOT_FOUND, noun.unknown()),
    };
    let is_usual = matches!(
        failure.error,
        Error::NotFound
            | Error::Denied
            | Error::Offline
            | Error::NotLocked { .. }
            | Error::UnsatisfiableRange { .. }
    );
    if !is_usual {
        let path = asked.parts.uri.path();
        tracing::warn!(target: "hubcap::api", upstream = %asked.access.target.registry, path, "not answered: {}",
            failure.error);
    }
    reply(status, (code, &failure.error.to_string()), failure.outcome).for_request(asked)
}

/// What could not be passed to the registry.
pub(crate) fn not_passed(error: &Error, registry: &Registry) -> Reply {
    tracing::warn!(target: "hubcap::api", upstream = %registry, "not passed on: {error}");
    reply(StatusCode::BAD_GATEWAY, (ErrorCode::Denied, &error.to_string()), Outcome::Failed)
}

/// A registry that nobody allowed.
pub(crate) fn unknown_registry(endpoint: &Endpoint, Unknown(why): &Unknown) -> Reply {
    let noun = match endpoint {
        Endpoint::Blob { .. } => Noun::Blob,
        Endpoint::Manifest { .. } => Noun::Manifest,
        _ => Noun::Name,
    };
    tracing::warn!(target: "hubcap::api", "{why}");
    reply(StatusCode::NOT_FOUND, (noun.unknown(), why), Outcome::Local)
}

/// An answer that did not come.
pub(crate) fn too_slow(limit: Duration) -> Response<Body> {
    let message = format!("hubcap found no answer within {} s", limit.as_secs());
    tracing::warn!(target: "hubcap::api", "{message}");
    reply(StatusCode::NOT_FOUND, (ErrorCode::NameUnknown, &message), Outcome::Failed).into_response()
}

/// Anything that writes.
pub(crate) fn unsupported() -> Reply {
    let message = "hubcap only serves pulls; push to the registry itself";
    reply(StatusCode::METHOD_NOT_ALLOWED, (ErrorCode::Unsupported, message), Outcome::Local)
        .with(header::ALLOW, "GET, HEAD")
}

/// No path of the specification's pull side.
pub(crate) fn unknown_path(path: &str) -> Reply {
    let shown: String = path.chars().take(128).collect();
    let message = format!("{shown:?} is no path of the pull side of the distribution specification");
    reply(StatusCode::NOT_FOUND, (ErrorCode::NameUnknown, &message), Outcome::Local)
}

/// A repository's name against the grammar.
pub(crate) fn bad_name(error: &ParseError) -> Reply {
    reply(StatusCode::BAD_REQUEST, (ErrorCode::NameInvalid, &error.to_string()), Outcome::Local)
}

/// A digest or tag against the grammar.
pub(crate) fn bad_reference(error: &ParseError) -> Reply {
    let code = if error.what == "digest" { ErrorCode::DigestInvalid } else { ErrorCode::ManifestUnknown };
    reply(StatusCode::BAD_REQUEST, (code, &error.to_string()), Outcome::Local)
}

fn reply(status: StatusCode, (code, message): (ErrorCode, &str), outcome: Outcome) -> Reply {
    Reply::new(status, outcome).json("application/json", code.body(message, ""))
}
