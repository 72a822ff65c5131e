//! The one enum behind `Cache-Status` (RFC 9211) and the access log.

use std::borrow::Cow;

/// A value, and how the cache came to it.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// What the client gets.
    pub value: T,
    /// How it was found.
    pub outcome: Outcome,
}

impl<T> Answer<T> {
    pub(crate) const fn new(value: T, outcome: Outcome) -> Self {
        Self { value, outcome }
    }
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// hubcap answered by itself; there was nothing to look up.
    Local,
    /// From the store, nobody was asked.
    Hit {
        /// For tags: seconds until the upstream is asked again.
        ttl: Option<u64>,
    },
    /// From the store although the tag is older than its TTL.
    Stale {
        /// Seconds since the tag ran out.
        over: u64,
        /// Why nothing newer was had.
        because: StaleBecause,
    },
    /// From the store, after the upstream said that this repository has it.
    Granted,
    /// From the store, after the upstream said that the tag has not moved.
    Revalidated,
    /// The tag had moved: fetched and stored.
    Refreshed,
    /// Fetched for this request and stored.
    Miss,
    /// Another request's fetch, joined while it runs.
    Collapsed,
    /// Fetched for this request, and not kept (lists, and the HEAD of a blob).
    Passed,
    /// Fetched for this request alone, since the disk has no room.
    Bypass,
    /// Fetched for this request from another origin of the registry, while the first was in trouble.
    Elsewhere,
    /// What another origin has under the tag, while the first was in trouble.
    StaleTag,
    /// A "no" of the upstream's, remembered.
    Refused,
    /// `--offline`, and not in the store.
    Offline,
    /// `--frozen`, and the tag is not in the lock.
    NotLocked,
    /// The upstream was asked and gave no answer that helps.
    Failed,
}

/// Why a stale tag is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleBecause {
    /// The upstream is down, slow, limits us or fails.
    UpstreamFailed,
    /// `--offline`.
    Offline,
    /// The upstream no longer has it.
    Removed,
}

/// What a request counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeClass {
    /// The store had the content.
    Hit,
    /// The store had the content, and the upstream could not be asked.
    Stale,
    /// The content came from the upstream.
    Miss,
    /// There was no content.
    Failed,
    /// The request was for no content: a list, or the size of a blob.
    Other,
}

impl Outcome {
    /// What the request counts as.
    pub const fn class(self) -> OutcomeClass {
        match self {
            Self::Hit { .. } | Self::Granted | Self::Revalidated => OutcomeClass::Hit,
            Self::Stale { .. } | Self::StaleTag => OutcomeClass::Stale,
            Self::Miss | Self::Refreshed | Self::Collapsed | Self::Bypass | Self::Elsewhere => {
                OutcomeClass::Miss
            }
            Self::Refused | Self::NotLocked | Self::Offline | Self::Failed => OutcomeClass::Failed,
            Self::Passed | Self::Local => OutcomeClass::Other,
        }
    }

    /// What the outcome of a flight is for one that was not its leader.
    pub(crate) const fn followed(self) -> Self {
        match self {
            Self::Miss | Self::Refreshed => Self::Collapsed,
            other => other,
        }
    }

    /// One word for the log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Hit { .. } => "hit",
            Self::Stale { .. } => "stale",
            Self::Granted => "granted",
            Self::Revalidated => "revalidated",
            Self::Refreshed => "refreshed",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Passed => "passed",
            Self::Bypass => "bypass",
            Self::Elsewhere => "other-origin",
            Self::StaleTag => "stale-tag",
            Self::Refused => "refused",
            Self::Offline => "offline",
            Self::NotLocked => "not-locked",
            Self::Failed => "failed",
        }
    }

    /// The value of `Cache-Status`. Section 2: `hit` and `fwd` exclude each other, and `ttl` below zero is how
    /// long an answer has been stale.
    pub fn cache_status(self) -> Cow<'static, str> {
        match self {
            Self::Local => "hubcap; detail=local".into(),
            Self::Hit { ttl: None } => "hubcap; hit".into(),
            Self::Hit { ttl: Some(seconds) } => format!("hubcap; hit; ttl={seconds}").into(),
            Self::Stale { over, because } => {
                let detail = match because {
                    StaleBecause::UpstreamFailed => "stale-if-error",
                    StaleBecause::Offline => "offline",
                    StaleBecause::Removed => "removed",
                };
                format!("hubcap; hit; ttl=-{over}; detail={detail}").into()
            }
            Self::Granted => "hubcap; fwd=miss; fwd-status=200; detail=granted".into(),
            Self::Revalidated => "hubcap; fwd=stale; fwd-status=200; detail=revalidated".into(),
            Self::Refreshed => "hubcap; fwd=stale; fwd-status=200; stored".into(),
            Self::Miss => "hubcap; fwd=miss; stored".into(),
            Self::Collapsed => "hubcap; fwd=miss; collapsed".into(),
            Self::Passed => "hubcap; fwd=miss".into(),
            Self::Bypass => "hubcap; fwd=miss; detail=no-room".into(),
            Self::Elsewhere => "hubcap; fwd=miss; detail=other-origin".into(),
            Self::StaleTag => "hubcap; fwd=miss; detail=stale-tag".into(),
            Self::Refused => "hubcap; hit; detail=refused".into(),
            Self::Offline => "hubcap; detail=offline".into(),
            Self::NotLocked => "hubcap; detail=not-locked".into(),
            Self::Failed => "hubcap; fwd=miss; detail=upstream-failed".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_says_both_hit_and_fwd() {
        let because = StaleBecause::UpstreamFailed;
        for outcome in [
            Outcome::Local,
            Outcome::Hit { ttl: None },
            Outcome::Hit { ttl: Some(3) },
            Outcome::Stale { over: 3, because },
            Outcome::Granted,
            Outcome::Revalidated,
            Outcome::Refreshed,
            Outcome::Miss,
            Outcome::Collapsed,
            Outcome::Passed,
            Outcome::Bypass,
            Outcome::Elsewhere,
            Outcome::StaleTag,
            Outcome::Refused,
            Outcome::Offline,
            Outcome::NotLocked,
            Outcome::Failed,
        ] {
            let status = outcome.cache_status();
            assert!(status.starts_with("hubcap; "), "{status}");
            assert!(!(status.contains("; hit") && status.contains("fwd=")), "{status}");
        }
        assert_eq!(
            Outcome::Stale { over: 7, because }.cache_status(),
            "hubcap; hit; ttl=-7; detail=stale-if-error"
        );
    }

    #[test]
    fn an_answer_from_the_store_counts_as_a_hit_although_the_upstream_was_asked() {
        for outcome in [Outcome::Hit { ttl: None }, Outcome::Granted, Outcome::Revalidated] {
            assert_eq!(outcome.class(), OutcomeClass::Hit);
        }
    }

    #[test]
    fn an_answer_from_the_upstream_counts_as_a_miss_whether_it_is_stored_or_not() {
        for outcome in
            [Outcome::Miss, Outcome::Refreshed, Outcome::Collapsed, Outcome::Bypass, Outcome::Elsewhere]
        {
            assert_eq!(outcome.class(), OutcomeClass::Miss);
        }
    }

    #[test]
    fn a_followers_miss_is_collapsed() {
        for outcome in [Outcome::Miss, Outcome::Refreshed] {
            assert_eq!(outcome.followed(), Outcome::Collapsed);
        }
        for outcome in [Outcome::Granted, Outcome::Revalidated] {
            assert_eq!(outcome.followed(), outcome);
        }
    }
}
