//! What an upstream's answer means for whoever asked.

use std::time::Duration;

/// Why an upstream did not give what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It says that it has no such thing.
    #[error("not found upstream")]
    NotFound,
    /// It refuses: other credentials are needed, or none help.
    #[error("the upstream refuses access ({status})")]
    Denied {
        /// 401 or 403.
        status: u16,
    },
    /// It refuses the request for another reason: it is wrong (400), too large (413), not allowed (405), gone (410), ... That
    /// is an answer: asked again, it says the same.
    #[error("the upstream refuses the request ({status})")]
    Refused {
        /// From 400 to 499.
        status: u16,
    },
    /// 429: too many requests.
    #[error("the upstream's rate limit is reached{}", retry_text(.retry_after.as_ref()))]
    RateLimited {
        /// How long it wants to be left alone, where it said so.
        retry_after: Option<Duration>,
    },
    /// 503 with a `Retry-After`.
    #[error("the upstream is overloaded; it asks to wait {} s", .retry_after.as_secs())]
    Overloaded {
        /// How long it wants to be left alone.
        retry_after: Duration,
    },
    /// It fails at the request, with a status of its own. Another time it may work.
    #[error("the upstream answered {status}")]
    Failed {
        /// From 500 on, mostly.
        status: u16,
    },
    /// It is down or slow. Another time it may work.
    #[error("{why}")]
    Unavailable {
        /// What happened, without anything secret.
        why: String,
        /// How far hubcap came.
        absence: Absence,
    },
    /// It brings next to nothing, and another origin may do better.
    #[error("it brings next to nothing")]
    Crawls,
    /// The host that it redirects to refuses what it redirected: a signed URL that has run out, or is for another
    /// method.
    #[error("the host that the registry redirects to refuses the request ({status})")]
    Elsewhere {
        /// 400, 401, 403 or 410.
        status: u16,
    },
    /// It does not give the range that it was asked for. The whole may be had: this stays in the crate.
    #[error("{why}")]
    NoRange {
        /// What it answered.
        why: String,
    },
    /// It leads to where hubcap must not go.
    #[error("{why}")]
    NotAllowed {
        /// What leads where.
        why: String,
    },
    /// It answered, with something that cannot be right.
    #[error("{why}")]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// The configuration cannot be meant so.
    #[error("{why}")]
    Config {
        /// What is wrong, and with what.
        why: String,
    },
}

/// How far hubcap came with what did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// No connection could be made.
    Unreachable,
    /// There was no answer in time.
    Silent,
    /// A connection ended before its answer did, or something else failed at once.
    Broken,
}

fn retry_text(after: Option<&Duration>) -> String {
    after.map(|after| format!("; it asks to wait {} s", after.as_secs())).unwrap_or_default()
}

impl Error {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), absence: Absence::Broken }
    }

    /// It was reached, and has not answered in time.
    pub(crate) fn silent(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), absence: Absence::Silent }
    }

    /// No connection to it could be made.
    pub(crate) fn unreachable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), absence: Absence::Unreachable }
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid { why: why.into() }
    }

    pub(crate) fn no_range(why: impl Into<String>) -> Self {
        Self::NoRange { why: why.into() }
    }

    /// Whether a request for a range may have failed because of the range alone, so that it is worth asking for the whole.
    pub(crate) const fn is_of_range(&self) -> bool {
        matches!(self, Self::NoRange { .. } | Self::Elsewhere { .. })
    }

    /// Whether the same request may be answered another time: a connection broke, or the origin is busy.
    pub(crate) const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Failed { .. }
                | Self::RateLimited { .. }
                | Self::Overloaded { .. }
                | Self::Elsewhere { .. }
                | Self::Crawls
        )
    }

    /// Whether it is trouble, and no answer: another origin may be asked instead.
    pub const fn is_trouble(&self) -> bool {
        self.is_transient() || matches!(self, Self::Invalid { .. })
    }

    /// Whether the origin, or hubcap itself, says no, however often it is asked.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::NotFound | Self::Denied { .. } | Self::Refused { .. } | Self::NotAllowed { .. })
    }

    /// Whether a GET is worth a try after a HEAD that ended so. Where nothing answered, or no request is welcome, or
    /// hubcap's own rules stand against it, a GET would fare the same.
    pub(crate) const fn may_be_for_head_alone(&self) -> bool {
        match self {
            Self::NotFound
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Failed { .. }
            | Self::Elsewhere { .. }
            | Self::NoRange { .. }
            | Self::Invalid { .. } => true,
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::Crawls
            | Self::NotAllowed { .. }
            | Self::Config { .. } => false,
        }
    }

    /// A failure of the connection, told without its URL: a signed URL is a secret.
    pub(crate) fn connection(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() { Self::connecting(&error) } else { Self::unavailable(chain(&error)) }
    }

    /// No connection could be made, which is no fault of the origin where it is hubcap that may open no more files.
    pub(crate) fn connecting(error: &(dyn std::error::Error + 'static)) -> Self {
        let why = chain(error);
        if is_of_files(error) { Self::unavailable(why) } else { Self::unreachable(why) }
    }
}

/// Why a request failed, and with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether it was not the registry itself, but its token service or a host that it redirects to.
    pub(crate) is_elsewhere: bool,
}

impl Failed {
    /// With the registry itself.
    pub(crate) const fn here(error: Error) -> Self {
        Self { error, is_elsewhere: false }
    }

    /// With another host, for which the registry has sent hubcap to it.
    pub(crate) const fn elsewhere(error: Error) -> Self {
        Self { error, is_elsewhere: true }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Whether no file could be opened: ENFILE and EMFILE.
fn is_of_files(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut codes = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    codes.any(|code| matches!(code, 23 | 24))
}

/// The longest text of an error that was caused elsewhere, in characters: one about a certificate has all of its names, which are a
/// stranger's, and it is kept with what hubcap leaves alone.
const MAX_CHAIN: usize = 1024;

/// An error with everything that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    why.chars().take(MAX_CHAIN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that was not made, as the connectors say it.
    #[derive(Debug, thiserror::Error)]
    #[error("error trying to connect")]
    struct NotMade(#[source] std::io::Error);

    #[test]
    fn what_an_error_says_has_an_end_though_its_cause_has_none() {
        let told = Error::connecting(&NotMade(std::io::Error::other("x".repeat(100_000)))).to_string();
        assert!(
            told.chars().count() == MAX_CHAIN && told.starts_with("error trying to connect: x"),
            "{told}"
        );
    }

    #[test]
    fn no_origin_is_blamed_for_files_that_hubcap_may_not_open() {
        let absence = |code| match Error::connecting(&NotMade(std::io::Error::from_raw_os_error(code))) {
            Error::Unavailable { absence, .. } => Some(absence),
            _ => None,
        };
        // EMFILE, ENFILE, ECONNREFUSED.
        assert_eq!(
            [24, 23, 111].map(absence),
            [Absence::Broken, Absence::Broken, Absence::Unreachable].map(Some)
        );
    }
}
