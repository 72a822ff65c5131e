//! Whether anybody may have a repository, as far as its registry's answers to nobody in particular tell, and for how long that
//! is good. Repositories are made private, and made public, at any time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::Target;
use hubcap_upstream::Error;

use crate::limited_map::LimitedMap;
use crate::lock::lock;

/// How long it is good without another look that a repository is public.
const PUBLIC: Duration = Duration::from_secs(300);
/// How long it is good that a repository is public while looks tell nothing, and that it is private.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long there is no other look after one that told nothing: it may have cost a client a timeout.
const DOUBT: Duration = Duration::from_secs(60);
/// Repositories that are remembered at most. One that is not costs a look with each fetch through a login.
const MAX: usize = 10_000;

/// What one look without a login tells of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Anybody may have it.
    Public,
    /// Only a login may have it.
    Private,
    /// Nothing: a rate limit, a timeout, a registry that fails and a sign-in page are no answers.
    Nothing,
}

impl Sight {
    /// What an answer tells of whether the registry gives what is known.
    pub(crate) fn of(answer: &Result<bool, Error>) -> Self {
        match answer {
            Ok(true) => Self::Public,
            Ok(false) => Self::Nothing,
            Err(error) if error.is_trouble() => Self::Nothing,
            Err(_) => Self::Private,
        }
    }
}

/// What this process has seen of repositories.
pub(crate) struct Seen {
    /// Whether they are public.
    told: Mutex<LimitedMap<Target, bool>>,
    /// Those of which the last look told nothing.
    in_doubt: Mutex<LimitedMap<Target, ()>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            told: Mutex::new(LimitedMap::new(MAX, LONGEST)),
            in_doubt: Mutex::new(LimitedMap::new(MAX, DOUBT)),
        }
    }
}

impl Seen {
    /// Whether it is time to look at a repository, for the first time or again.
    pub(crate) fn is_due(&self, target: &Target, now: Instant) -> bool {
        let is_good = self.is_public(target, now) || lock(&self.told).get(target, now) == Some(&false);
        !is_good && lock(&self.in_doubt).get(target, now).is_none()
    }

    /// Whether it was found out a short while ago that anybody may have a repository.
    pub(crate) fn is_public(&self, target: &Target, now: Instant) -> bool {
        let told = lock(&self.told);
        told.get(target, now) == Some(&true) && told.age(target, now).is_some_and(|age| age < PUBLIC)
    }

    /// Takes what a look has told. Whether the repository counts as private from now on.
    pub(crate) fn learn(&self, target: &Target, sight: Sight, now: Instant) -> bool {
        match sight {
            Sight::Public => drop(lock(&self.told).insert(target.clone(), true, now)),
            Sight::Private => drop(lock(&self.told).insert(target.clone(), false, now)),
            Sight::Nothing => drop(lock(&self.in_doubt).insert(target.clone(), (), now)),
        }
        self.is_private(target, now)
    }

    /// Whether a repository counts as private: also one of which nothing is known.
    pub(crate) fn is_private(&self, target: &Target, now: Instant) -> bool {
        lock(&self.told).get(target, now) != Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use hubcap_upstream::Absence;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn target() -> Target {
        Target::new("ghcr.io".parse().expect("a registry"), "org/app".parse().expect("a repository"))
    }

    #[test]
    fn only_an_answer_tells_whether_a_repository_is_public() {
        assert_eq!(Sight::of(&Ok(true)), Sight::Public);
        assert_eq!(Sight::of(&Ok(false)), Sight::Nothing);
        for no in [Error::NotFound, Error::Denied { status: 401 }, Error::Refused { status: 410 }] {
            assert_eq!(Sight::of(&Err(no)), Sight::Private);
        }
        for trouble in [
            Error::RateLimited { retry_after: None },
            Error::Overloaded { retry_after: SECOND },
            Error::Failed { status: 500 },
            Error::Unavailable { why: "no answer in time".into(), absence: Absence::Silent },
            Error::Invalid { why: "a web page".into() },
        ] {
            assert_eq!(Sight::of(&Err(trouble)), Sight::Nothing);
        }
    }

    #[test]
    fn what_was_public_is_looked_at_again_after_five_minutes_and_what_was_private_after_an_hour() {
        let (seen, now, target) = (Seen::default(), Instant::now(), target());
        assert!(seen.is_due(&target, now));
        assert!(!seen.learn(&target, Sight::Public, now));
        assert!(!seen.is_due(&target, now + PUBLIC - SECOND) && seen.is_due(&target, now + PUBLIC));
        let now = now + PUBLIC;
        assert!(seen.learn(&target, Sight::Private, now));
        assert!(!seen.is_due(&target, now + LONGEST - SECOND) && seen.is_due(&target, now + LONGEST));
    }

    #[test]
    fn a_look_that_tells_nothing_changes_nothing_for_an_hour() {
        for sight in [Sight::Public, Sight::Private] {
            let (seen, now, target) = (Seen::default(), Instant::now(), target());
            seen.learn(&target, sight, now);
            let last = now + LONGEST - SECOND;
            assert_eq!(seen.learn(&target, Sight::Nothing, last), sight == Sight::Private);
            assert!(seen.learn(&target, Sight::Nothing, last + SECOND), "doubt renews nothing");
        }
    }

    #[test]
    fn what_is_private_because_of_doubt_is_looked_at_again_after_a_minute() {
        let (seen, now, target) = (Seen::default(), Instant::now(), target());
        assert!(seen.learn(&target, Sight::Nothing, now));
        assert!(!seen.is_due(&target, now + DOUBT - SECOND) && seen.is_due(&target, now + DOUBT));
        assert!(!seen.learn(&target, Sight::Public, now + DOUBT));
    }
}
