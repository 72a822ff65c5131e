//! What can go wrong, as a client has to know it. The status is chosen above, in the API.

use hubcap_oci::Registry;

use crate::outcome::{Outcome, StaleBecause};

/// An error, and what the log and `Cache-Status` say of the request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// How far the request came.
    pub outcome: Outcome,
}

impl Failure {
    /// Why a stored answer may be served instead, although it is stale; `None` where the failure is the answer.
    pub(crate) const fn stale_reason(&self) -> Option<StaleBecause> {
        match &self.error {
            Error::Offline => Some(StaleBecause::Offline),
            error if error.is_trouble() => Some(StaleBecause::UpstreamFailed),
            _ => None,
        }
    }
}

/// The failure of a request for which the upstream was asked in vain.
impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), outcome: Outcome::Failed }
    }
}

/// Why there is no answer. Cloned to every follower of a flight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No upstream is configured under this name.
    #[error("hubcap is not allowed to ask {0}; start it with --upstream {0} to allow it")]
    UnknownRegistry(Registry),
    /// It leads to where hubcap must not go.
    #[error("{why}; --upstream NAME=URL names where a registry is")]
    NotAllowed {
        /// What leads where.
        why: String,
    },
    /// The upstream does not have it.
    #[error("the upstream does not have it")]
    NotFound,
    /// The upstream wants other credentials than hubcap has.
    #[error("the upstream refuses access to this repository")]
    Denied,
    /// The upstream says no for another reason, with this status.
    #[error("the upstream refuses the request ({status})")]
    Refused {
        /// From 400 to 499.
        status: u16,
    },
    /// The upstream is down, slow, limits us or fails.
    #[error("the upstream cannot be used now: {why}")]
    Unavailable {
        /// What happened.
        why: String,
    },
    /// `--offline`, and not in the store.
    #[error("hubcap runs with --offline, and this is not in its store")]
    Offline,
    /// `--frozen`, and the lock does not have the tag.
    #[error("{name} is not in the lock that hubcap runs with (--frozen); `hubcap lock` can add it")]
    NotLocked {
        /// The image's whole name.
        name: String,
    },
    /// What came is not what was asked for.
    #[error("the upstream sent wrong content: {why}")]
    WrongContent {
        /// What is wrong with it.
        why: String,
    },
    /// The store does not take it: no room, or the disk does not work.
    #[error("{why}")]
    NoRoom {
        /// What the system says.
        why: String,
    },
    /// The range that the client asks for has no byte of the blob.
    #[error("the range has no byte of the {size} there are")]
    UnsatisfiableRange {
        /// The blob's length in bytes.
        size: u64,
    },
    /// hubcap's own disk or a bug.
    #[error("hubcap failed: {why}")]
    Internal {
        /// What happened.
        why: String,
    },
}

impl Error {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into() }
    }

    pub(crate) fn wrong_content(why: impl Into<String>) -> Self {
        Self::WrongContent { why: why.into() }
    }

    /// A flight ended without a result: its task panicked, or the runtime ends.
    pub(crate) fn no_result() -> Self {
        Self::Internal { why: "the fetch ended without a result".into() }
    }

    /// Whether it is the upstream's own no to the request, which may be another's yes.
    pub(crate) const fn is_no(&self) -> bool {
        matches!(self, Self::NotFound | Self::Denied | Self::Refused { .. })
    }

    /// Whether it is what an upstream says of an image that it has removed. It may say the same of one that is private.
    pub(crate) const fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound | Self::Denied | Self::Refused { status: 410 })
    }

    /// Whether a stale answer is better than this error: the upstream's trouble is, its "no" is not.
    pub(crate) const fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::WrongContent { .. }
                | Self::NoRoom { .. }
                | Self::Internal { .. }
        )
    }
}

/// Why a fill gave up, where it is a fill's content that could not be read.
pub(crate) fn fill_error(error: &hubcap_store::ReadError) -> Option<&Error> {
    match error {
        hubcap_store::ReadError::Aborted(reason) => reason.downcast_ref(),
        _ => None,
    }
}

impl From<hubcap_upstream::Error> for Error {
    fn from(error: hubcap_upstream::Error) -> Self {
        use hubcap_upstream::Error as Upstream;
        match error {
            Upstream::NotFound => Self::NotFound,
            Upstream::Denied { .. } => Self::Denied,
            Upstream::Refused { status } => Self::Refused { status },
            Upstream::NotAllowed { why } => Self::NotAllowed { why },
            Upstream::Invalid { .. } => Self::wrong_content(error.to_string()),
            other => Self::unavailable(other.to_string()),
        }
    }
}

impl From<hubcap_store::Error> for Error {
    fn from(error: hubcap_store::Error) -> Self {
        match error {
            hubcap_store::Error::DigestMismatch { .. } => Self::wrong_content(error.to_string()),
            // Whatever the disk says against a content, a pull can go on without the store.
            hubcap_store::Error::NoRoom { .. }
            | hubcap_store::Error::ReadOnly { .. }
            | hubcap_store::Error::Io(_) => Self::NoRoom { why: error.to_string() },
            other => Self::Internal { why: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale_reason(error: Error) -> Option<StaleBecause> {
        Failure::from(error).stale_reason()
    }

    #[test]
    fn an_upstreams_trouble_is_a_reason_to_serve_stale() {
        let why = String::new;
        for error in [
            Error::Unavailable { why: why() },
            Error::WrongContent { why: why() },
            Error::NoRoom { why: why() },
            Error::Internal { why: why() },
        ] {
            assert_eq!(stale_reason(error), Some(StaleBecause::UpstreamFailed));
        }
        assert_eq!(stale_reason(Error::Offline), Some(StaleBecause::Offline));
    }

    #[test]
    fn an_upstreams_no_is_no_reason_to_serve_stale() {
        for error in [
            Error::NotFound,
            Error::Denied,
            Error::Refused { status: 400 },
            Error::NotAllowed { why: String::new() },
            Error::NotLocked { name: String::new() },
            Error::UnknownRegistry(Registry::docker_hub()),
        ] {
            assert_eq!(stale_reason(error), None);
        }
    }
}
