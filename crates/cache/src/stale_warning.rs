//! Warnings that something stored is served past its TTL: one a minute for each content, however many clients ask for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Target};

use crate::limited_map::LimitedMap;
use crate::lock::lock;

/// How long the log is not told again of a content.
const QUIET: Duration = Duration::from_secs(60);
/// Contents that are told of at most in that time.
const MAX: usize = 1000;

/// What was told, with how many answers were given since.
pub(crate) struct StaleWarning(Mutex<LimitedMap<(Target, Digest), AtomicU64>>);

impl Default for StaleWarning {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, QUIET)))
    }
}

impl StaleWarning {
    /// Counts an answer with a content of a repository, or with a list of its referrers. Where it is time to tell of it, returns
    /// how many others there were since the last time.
    pub(crate) fn count(&self, target: &Target, digest: &Digest) -> Option<u64> {
        self.count_at(target, digest, Instant::now())
    }

    fn count_at(&self, target: &Target, digest: &Digest, now: Instant) -> Option<u64> {
        let key = (target.clone(), *digest);
        let mut told = lock(&self.0);
        if let Some(untold) = told.get(&key, now) {
            untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let before = told.insert(key.clone(), AtomicU64::new(0), now);
        // Not told where it is not remembered: it would be told each time.
        told.get(&key, now)?;
        Some(before.map_or(0, AtomicU64::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Registry};

    use super::*;

    #[test]
    fn a_content_is_told_of_once_a_minute_with_the_answers_between() {
        let (warning, now) = (StaleWarning::default(), Instant::now());
        let target =
            Target { registry: Registry::docker_hub(), repository: "library/x".parse().expect("a name") };
        let content = |n: usize| Digest::of(Algorithm::Sha256, &n.to_le_bytes());
        let count = |n: usize, seconds: u64| {
            warning.count_at(&target, &content(n), now + Duration::from_secs(seconds))
        };
        assert_eq!((count(0, 0), count(0, 1), count(0, 59)), (Some(0), None, None));
        assert_eq!(count(1, 1), Some(0), "another one");
        assert_eq!((count(0, 60), count(0, 61)), (Some(2), None));
        let told = (2..5000).filter(|n| count(*n, 61).is_some()).count();
        assert!(told <= MAX, "{told}");
    }
}
