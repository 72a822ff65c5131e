//! What can go wrong, as a client has to know it. The status is chosen above, in the API.

use hubcap_oci::Registry;

use crate::outcome::Outcome;

/// An error, and what the log and `Cache-Status` say of the request.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// How far the request came.
    pub outcome: Outcome,
}

impl Failure {
    /// The upstream was asked in vain.
    pub(crate) const fn asked(error: Error) -> Self {
        Self { error, outcome: Outcome::Failed }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::asked(error)
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
    /// hubcap's own disk or a bug.
    #[error("hubcap failed: {why}")]
    Internal {
        /// What happened.
        why: String,
    },
}

impl Error {
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

impl From<hubcap_upstream::Error> for Error {
    fn from(error: hubcap_upstream::Error) -> Self {
        use hubcap_upstream::Error as Upstream;
        match error {
            Upstream::NotFound => Self::NotFound,
            Upstream::Denied { .. } => Self::Denied,
            Upstream::NotAllowed { why } => Self::NotAllowed { why },
            Upstream::Invalid { .. } => Self::WrongContent { why: error.to_string() },
            other => Self::Unavailable { why: other.to_string() },
        }
    }
}

impl From<hubcap_store::Error> for Error {
    fn from(error: hubcap_store::Error) -> Self {
        match error {
            hubcap_store::Error::DigestMismatch { .. } => Self::WrongContent { why: error.to_string() },
            // Whatever the disk says against a content, a pull can go on without the store.
            hubcap_store::Error::NoRoom { .. }
            | hubcap_store::Error::ReadOnly { .. }
            | hubcap_store::Error::Io(_) => Self::NoRoom { why: error.to_string() },
            other => Self::Internal { why: other.to_string() },
        }
    }
}
