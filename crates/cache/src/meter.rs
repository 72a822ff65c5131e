//! The meter counts what clients asked of each repository and what each registry sent, since the start: the numbers
//! behind `hubcap status` and `hubcap down`'s summary.

mod busy;
mod stats;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubcap_oci::{Registry, Target};

use crate::lock::lock;
use crate::outcome::{Outcome, OutcomeClass};

use busy::Busy;

pub use stats::{RegistryStats, RemovedImage, RepositoryStats, Snapshot, TagLockReport};

/// Tags that are remembered of one repository; a summary names no more.
const MAX_TAGS: usize = 20;
/// Repositories that are counted at most: a client that asks for more costs no memory.
const MAX_REPOSITORIES: usize = 10_000;
/// A connection must bring this many bytes before its rate counts: below, the time is mostly the registry's first answer.
const LEAST_SAMPLE: u64 = 1 << 20;

/// Counts per repository and per registry.
#[derive(Default)]
pub(crate) struct Meter {
    repositories: Mutex<HashMap<Target, Arc<Counter<RepositoryStats>>>>,
    registries: Mutex<HashMap<Registry, Arc<Counter<RegistryStats>>>>,
}

/// The counts of one repository or registry, and how long it was busy.
#[derive(Default)]
struct Counter<T>(Mutex<(T, Busy)>);

impl Meter {
    /// Counts a request that came at `came`. The repository is busy until the guard is dropped.
    pub(crate) fn request(&self, target: &Target, tag: Option<&str>, came: Instant) -> RequestGuard {
        let counter = self.repository(target);
        {
            let (stats, busy) = &mut *lock(&counter.0);
            busy.begin(came);
            if let Some(tag) = tag
                && stats.tags.len() < MAX_TAGS
                && !stats.tags.contains(tag)
            {
                stats.tags.insert(tag.to_owned());
            }
        }
        RequestGuard(counter)
    }

    /// Counts a manifest of `bytes` that came from the upstream.
    pub(crate) fn manifest(&self, target: &Target, bytes: u64) {
        lock(&self.repository(target).0).0.fetched += bytes;
    }

    /// Counts a blob's transfer from the upstream. The registry is busy until the guard is dropped.
    pub(crate) fn transfer(&self, target: &Target) -> TransferGuard {
        let repository = self.repository(target);
        let registry = Arc::clone(lock(&self.registries).entry(target.registry.clone()).or_default());
        lock(&registry.0).1.begin(Instant::now());
        TransferGuard { repository, registry }
    }

    /// The counts of every repository, by `registry/repository`.
    pub(crate) fn repositories(&self) -> BTreeMap<String, RepositoryStats> {
        let repositories = lock(&self.repositories);
        let stats = repositories.iter().map(|(target, counter)| {
            let (stats, busy) = &*lock(&counter.0);
            (target.to_string(), RepositoryStats { answering_ms: busy.millis(), ..stats.clone() })
        });
        stats.collect()
    }

    /// The counts of one registry; those of one that sent nothing are zero.
    pub(crate) fn registry(&self, registry: &Registry) -> RegistryStats {
        let Some(counter) = lock(&self.registries).get(registry).map(Arc::clone) else {
            return RegistryStats::default();
        };
        let (stats, busy) = &*lock(&counter.0);
        RegistryStats { fetching_ms: busy.millis(), ..stats.clone() }
    }

    /// The counter of a repository. Past the limit it is one that nobody reads.
    fn repository(&self, target: &Target) -> Arc<Counter<RepositoryStats>> {
        let mut repositories = lock(&self.repositories);
        if let Some(counter) = repositories.get(target) {
            return Arc::clone(counter);
        }
        let counter = Arc::default();
        if repositories.len() < MAX_REPOSITORIES {
            repositories.insert(target.clone(), Arc::clone(&counter));
        }
        counter
    }
}

/// A request of a repository that is being answered.
pub struct RequestGuard(Arc<Counter<RepositoryStats>>);

impl RequestGuard {
    /// Counts the answer, with which `bytes` of a content went to the client.
    pub fn answered(&self, outcome: Outcome, bytes: u64) {
        let (stats, _) = &mut *lock(&self.0.0);
        stats.served += bytes;
        stats.largest = stats.largest.max(bytes);
        match outcome.class() {
            OutcomeClass::Hit => stats.hits += 1,
            OutcomeClass::Stale => stats.stale += 1,
            OutcomeClass::Miss => stats.misses += 1,
            OutcomeClass::Failed => stats.failed += 1,
            OutcomeClass::Other => {}
        }
        if matches!(outcome, Outcome::Bypass | Outcome::Elsewhere) {
            // No transfer into the store counts these.
            stats.fetched += bytes;
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        lock(&self.0.0).1.end(Instant::now());
    }
}

/// A blob that is being fetched.
pub(crate) struct TransferGuard {
    repository: Arc<Counter<RepositoryStats>>,
    registry: Arc<Counter<RegistryStats>>,
}

impl TransferGuard {
    /// Counts `bytes` of the blob, over all connections, of which `cached` came from the job's cache.
    pub(crate) fn fetched(&self, bytes: u64, cached: u64) {
        let cached = cached.min(bytes);
        let repository = &mut lock(&self.repository.0).0;
        repository.fetched += bytes - cached;
        repository.cached += cached;
        lock(&self.registry.0).0.fetched += bytes - cached;
    }

    /// Notes the rate of the blob's first connection, which brought `bytes` in `took`.
    pub(crate) fn single_connection(&self, bytes: u64, took: Duration) {
        if bytes >= LEAST_SAMPLE {
            let stats = &mut lock(&self.registry.0).0;
            // Bytes of a blob are far from f64's limits.
            let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
            stats.single_connection_rate = stats.single_connection_rate.max(rate);
        }
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        lock(&self.registry.0).1.end(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(repository: &str) -> Target {
        Target { registry: Registry::docker_hub(), repository: repository.parse().expect("a repository") }
    }

    fn answered(outcome: Outcome) -> RepositoryStats {
        let (meter, target) = (Meter::default(), target("library/x"));
        meter.request(&target, Some("1"), Instant::now()).answered(outcome, 7);
        meter.repositories().remove("docker.io/library/x").expect("it was asked for")
    }

    #[test]
    fn a_hit_counts_as_a_hit() {
        let stats = answered(Outcome::Hit { ttl: None });
        assert_eq!((stats.hits, stats.misses, stats.served, stats.fetched), (1, 0, 7, 0));
        assert_eq!(stats.tags, ["1".to_owned()].into());
    }

    #[test]
    fn a_miss_counts_as_a_miss() {
        let stats = answered(Outcome::Miss);
        assert_eq!((stats.hits, stats.misses, stats.served, stats.fetched), (0, 1, 7, 0));
    }

    #[test]
    fn a_bypass_counts_as_fetched() {
        let stats = answered(Outcome::Bypass);
        assert_eq!((stats.misses, stats.served, stats.fetched), (1, 7, 7));
    }

    #[test]
    fn a_transfer_counts_for_its_repository_and_its_registry() {
        let (meter, target) = (Meter::default(), target("library/x"));
        meter.transfer(&target).fetched(8, 3);
        meter.manifest(&target, 2);
        let stats = &meter.repositories()["docker.io/library/x"];
        assert_eq!((stats.fetched, stats.cached), (7, 3));
        assert_eq!(meter.registry(&target.registry).fetched, 5);
    }

    #[test]
    fn the_number_of_repositories_is_bounded() {
        let meter = Meter::default();
        for number in 0..MAX_REPOSITORIES + 10 {
            meter.manifest(&target(&format!("x/{number}")), 1);
        }
        assert_eq!(meter.repositories().len(), MAX_REPOSITORIES);
    }

    #[test]
    fn the_number_of_tags_is_bounded() {
        let (meter, target) = (Meter::default(), target("library/x"));
        for number in 0..MAX_TAGS + 10 {
            meter.request(&target, Some(&number.to_string()), Instant::now());
        }
        assert_eq!(meter.repositories()["docker.io/library/x"].tags.len(), MAX_TAGS);
    }

    #[test]
    fn the_single_connection_rate_needs_a_least_sample() {
        let (meter, target) = (Meter::default(), target("library/x"));
        let transfer = meter.transfer(&target);
        let rate = || meter.registry(&target.registry).single_connection_rate;
        transfer.single_connection(LEAST_SAMPLE - 1, Duration::from_millis(1));
        assert_eq!(rate(), 0.0);
        transfer.single_connection(2 * LEAST_SAMPLE, Duration::from_secs(2));
        assert_eq!(rate(), LEAST_SAMPLE as f64);
        transfer.single_connection(LEAST_SAMPLE, Duration::from_secs(2));
        assert_eq!(rate(), LEAST_SAMPLE as f64, "the fastest counts");
    }
}
