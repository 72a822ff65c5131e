//! The negative cache: an upstream's "no", remembered briefly. Clients ask again and again, and each question may cost a
//! pull of a rate limit.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::Target;

use crate::error::{Error, Failure};
use crate::limited_map::LimitedMap;
use crate::lock::lock;
use crate::outcome::Outcome;
use crate::question::Question;

/// How long a "no" is good. Short: the image may be pushed just now.
const LIFE: Duration = Duration::from_secs(10);
/// Answers that are remembered at most; what is not remembered is asked again.
const MAX: usize = 4096;

/// What upstreams have said no to, and to whom.
pub(crate) struct NegativeCache(Mutex<LimitedMap<Question, Error>>);

impl Default for NegativeCache {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, LIFE)))
    }
}

impl NegativeCache {
    /// The answer of `ask`, unless a "no" to the same question is remembered. A new "no" is remembered.
    ///
    /// # Errors
    /// A [`Failure`] of `ask`, or the remembered one, with [`Outcome::Refused`].
    pub(crate) async fn asked<T>(
        &self,
        question: &Question,
        ask: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if let Some(error) = self.find(question, Instant::now()) {
            return Err(Failure { error, outcome: Outcome::Refused });
        }
        let answer = ask.await;
        if let Err(failure) = &answer {
            self.note(question, &failure.error, Instant::now());
        }
        answer
    }

    /// Forgets all answers of a repository, which has just been written to.
    pub(crate) fn forget(&self, target: &Target) {
        lock(&self.0).retain(|question| question.access.target != *target);
    }

    fn find(&self, question: &Question, now: Instant) -> Option<Error> {
        lock(&self.0).get(question, now).cloned()
    }

    /// Remembers a "no"; any other error may be over with the next question.
    fn note(&self, question: &Question, error: &Error, now: Instant) {
        if error.is_no() {
            lock(&self.0).insert(question.clone(), error.clone(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Digest, Reference};

    use super::*;
    use crate::access::{Access, Caller};

    fn access(repository: &str, authorization: Option<&str>) -> Access {
        let target = Target {
            registry: "ghcr.io".parse().expect("a registry"),
            repository: repository.parse().expect("a repository"),
        };
        Access { target, caller: Caller::new(authorization) }
    }

    fn tag(access: &Access) -> Question {
        Question::manifest(access, &Reference::Tag("latest".parse().expect("a tag")))
    }

    #[test]
    fn a_no_is_good_for_ten_seconds() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        let question = tag(&access("org/a", None));
        cache.note(&question, &Error::NotFound, now);
        assert_eq!(cache.find(&question, now + Duration::from_secs(9)), Some(Error::NotFound));
        assert_eq!(cache.find(&question, now + LIFE), None);
    }

    #[test]
    fn only_a_no_is_remembered() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        let question = tag(&access("org/a", None));
        for error in [Error::unavailable("down"), Error::Offline, Error::wrong_content("not JSON")] {
            cache.note(&question, &error, now);
            assert_eq!(cache.find(&question, now), None, "{error}");
        }
        for no in [Error::Denied, Error::Refused { status: 400 }] {
            cache.note(&question, &no, now);
            assert_eq!(cache.find(&question, now), Some(no));
        }
    }

    #[test]
    fn a_no_is_for_its_caller_alone() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        cache.note(&tag(&access("org/a", None)), &Error::Denied, now);
        assert_eq!(cache.find(&tag(&access("org/a", Some("Basic YTpi"))), now), None);
    }

    #[test]
    fn a_no_to_a_blob_says_nothing_of_the_manifest() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        let (access, digest) = (access("org/a", None), Digest::of(Algorithm::Sha256, b""));
        cache.note(&Question::blob(&access, &digest), &Error::NotFound, now);
        assert_eq!(cache.find(&Question::manifest(&access, &Reference::Digest(digest)), now), None);
    }

    #[test]
    fn a_write_forgets_what_its_repository_refused_and_no_other() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        let (written, other) = (access("org/a", Some("Basic YTpi")), access("org/b", None));
        for access in [&written, &other] {
            cache.note(&tag(access), &Error::NotFound, now);
        }
        cache.forget(&written.target);
        assert_eq!(cache.find(&tag(&written), now), None);
        assert_eq!(cache.find(&tag(&other), now), Some(Error::NotFound));
    }

    #[tokio::test]
    async fn a_remembered_no_is_not_asked_again() {
        let (cache, question) = (NegativeCache::default(), tag(&access("org/a", None)));
        let first = cache.asked(&question, async { Err::<(), _>(Failure::from(Error::NotFound)) }).await;
        assert_eq!(first.expect_err("a no").outcome, Outcome::Failed);
        let second = cache.asked::<()>(&question, async { panic!("asked again") }).await;
        assert_eq!(second.expect_err("the same no").outcome, Outcome::Refused);
    }
}
