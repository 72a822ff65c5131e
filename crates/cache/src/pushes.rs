//! Which repositories clients push to through hubcap.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::Target;

use crate::limited_map::LimitedMap;
use crate::lock::lock;

/// How long after a client's last step of a push its requests for manifests are not answered from the store.
const PUSHING: Duration = Duration::from_secs(300);
/// Pushes that are remembered at most. One that is not sees tags as old as their TTL, as every client does that pulls.
const MAX: usize = 1024;

/// Repositories that are being pushed to.
pub(crate) struct Pushes(Mutex<LimitedMap<Target, ()>>);

impl Default for Pushes {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, PUSHING)))
    }
}

impl Pushes {
    /// Notes a step of a push.
    pub(crate) fn note(&self, target: &Target, now: Instant) {
        lock(&self.0).insert(target.clone(), (), now);
    }

    /// Whether a client pushes to the repository.
    pub(crate) fn is_pushed_to(&self, target: &Target, now: Instant) -> bool {
        lock(&self.0).get(target, now).is_some()
    }

    /// Whether a client has pushed to the repository after `then`.
    pub(crate) fn is_pushed_to_since(&self, target: &Target, then: Instant) -> bool {
        lock(&self.0).age(target, then).is_some_and(|age| age.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(repository: &str) -> Target {
        Target {
            registry: "ghcr.io".parse().expect("a registry"),
            repository: repository.parse().expect("a repository"),
        }
    }

    #[test]
    fn a_push_is_remembered_for_five_minutes_after_its_last_step() {
        let (pushes, now) = (Pushes::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!pushes.is_pushed_to(&target("a"), now));
        pushes.note(&target("a"), now);
        pushes.note(&target("a"), after(200));
        assert!(pushes.is_pushed_to(&target("a"), after(499)));
        assert!(!pushes.is_pushed_to(&target("a"), after(500)));
        assert!(pushes.is_pushed_to_since(&target("a"), after(199)));
        assert!(!pushes.is_pushed_to_since(&target("a"), after(201)));
    }

    #[test]
    fn a_push_concerns_its_repository_alone() {
        let (pushes, now) = (Pushes::default(), Instant::now());
        pushes.note(&target("a"), now);
        assert!(!pushes.is_pushed_to(&target("b"), now));
    }
}
