//! Why the Actions cache did not do what it was asked for. Each is one sentence for a job's log; the job goes on.

use std::fmt;
use std::time::Duration;

/// Why the cache service did not do what it was asked for. No error shows a URL, a token or the service's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// From now on nothing is looked up.
    #[error("nothing is read from the Actions cache: {0}")]
    ReadDenied(Denial),
    /// From now on nothing is saved.
    #[error("nothing is written to the Actions cache: {0}")]
    WriteDenied(Denial),
    /// 429: the limit of this repository and this call, which all of its jobs share.
    #[error("the Actions cache's limit of {call} is reached; it asks to wait {} s", .retry_after.as_secs())]
    RateLimited {
        /// What is asked too often.
        call: Call,
        /// How long the service wants to be left alone.
        retry_after: Duration,
    },
    /// It is not asked, because of an earlier error.
    #[error("the Actions cache is not asked for {call} for another {} s", .left.as_secs())]
    Resting {
        /// For what.
        call: Call,
        /// How long.
        left: Duration,
    },
    /// The repository's cache is full, and the service evicts nothing for it.
    #[error("the Actions cache of this repository has no space left")]
    Full,
    /// The service keeps no entry without bytes.
    #[error("the Actions cache keeps no entry of size 0")]
    Empty,
    /// The signed URL ran out. The service gives no other one for the same key: the key is lost.
    #[error("the upload took longer than the time for which the Actions cache takes it")]
    UploadExpired,
    /// What was to be uploaded could not be read.
    #[error("the content cannot be read for its upload: {why}")]
    Unreadable {
        /// What happened.
        why: String,
    },
    /// It refuses for another reason. Asked again, it says the same.
    #[error("the Actions cache refuses {call} ({status})")]
    Refused {
        /// What it refuses.
        call: Call,
        /// Its status; 200 where it says no in its answer.
        status: u16,
    },
    /// It cannot be reached, fails, or answers what cannot be right.
    #[error("the Actions cache is of no use: {0}")]
    Away(crate::Error),
}

impl Error {
    /// Whether an upload that ended so may have reserved its key, for ever.
    pub const fn may_have_reserved(&self) -> bool {
        match self {
            Self::UploadExpired | Self::Unreadable { .. } | Self::Away(_) => true,
            Self::RateLimited { call, .. } | Self::Resting { call, .. } | Self::Refused { call, .. } => {
                matches!(call, Call::Finalize)
            }
            Self::ReadDenied(_) | Self::WriteDenied(_) | Self::Full | Self::Empty => false,
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Away(error)
    }
}

/// Who says that the job may not do something, for the rest of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The workflow, by `cache-mode`.
    Mode,
    /// The scopes that the job's token names.
    Scopes,
    /// The service, in an answer.
    Answer,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mode => "the workflow's cache-mode forbids it",
            Self::Scopes => "the job's token is not for that",
            Self::Answer => "the service denies it to this job",
        })
    }
}

/// What the service is asked. Each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `GetCacheEntryDownloadURL`: 1,500 a minute and repository.
    LookUp,
    /// `CreateCacheEntry`: 200 a minute and repository.
    Create,
    /// `FinalizeCacheEntryUpload`.
    Finalize,
}

impl Call {
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::LookUp => "GetCacheEntryDownloadURL",
            Self::Create => "CreateCacheEntry",
            Self::Finalize => "FinalizeCacheEntryUpload",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookUp => "look-ups",
            Self::Create => "new entries",
            Self::Finalize => "ends of uploads",
        })
    }
}
