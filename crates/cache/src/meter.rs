//! The meter counts what clients asked of each repository and what each registry sent, since the start: the numbers
//! behind `hubcap status` and `hubcap down`'s summary.

mod busy;
mod fastest;
mod requests;
mod stats;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Registry, Target};

use crate::lock::lock;
use crate::outcome::{Outcome, OutcomeClass};

use busy::Busy;
use fastest::Fastest;
use requests::{Ended, Requests};

pub use requests::{ClientRequest, RequestLog, Sent};
pub use stats::{RegistryStats, RemovedImage, RepositoryStats, Snapshot, TagLockReport};

/// Tags that are remembered of one repository; a summary names no more.
const MAX_TAGS: usize = 20;
/// Repositories that are counted at most: a client that asks for more costs no memory.
const MAX_REPOSITORIES: usize = 10_000;

/// Counts per repository and per registry, and the requests one by one.
#[derive(Default)]
pub(crate) struct Meter {
    repositories: Mutex<HashMap<Target, Arc<Counter<RepositoryStats>>>>,
    registries: Mutex<HashMap<Registry, Arc<Counter<RegistryCount>>>>,
    requests: Arc<Requests>,
}

/// The counts of one repository or registry, and how long it was busy.
#[derive(Default)]
struct Counter<T>(Mutex<(T, Busy)>);

#[derive(Default)]
struct RegistryCount {
    stats: RegistryStats,
    fastest: Fastest,
    /// Bytes of the transfers that are sampled, from wherever they came over the machine's line.
    line_bytes: u64,
    /// How long at least one of them went on.
    line: Busy,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested<'a> {
    /// A manifest by its tag.
    Tag(&'a str),
    /// A manifest by its digest.
    Manifest,
    /// A blob.
    Blob(Digest),
    /// A list, or whether something is there.
    Other,
}

impl Meter {
    /// Counts a request that came at `came`. The repository is busy until the guard is dropped.
    pub(crate) fn request(&self, target: &Target, requested: Requested<'_>, came: Instant) -> RequestGuard {
        let counter = self.repository(target);
        {
            let (stats, busy) = &mut *lock(&counter.0);
            busy.begin(came);
            if let Requested::Tag(tag) = requested
                && stats.tags.len() < MAX_TAGS
                && !stats.tags.contains(tag)
            {
                stats.tags.insert(tag.to_owned());
            }
        }
        let blob = match requested {
            Requested::Tag(_) | Requested::Manifest => Some(None),
            Requested::Blob(digest) => Some(Some(digest)),
            Requested::Other => None,
        };
        let log =
            blob.map(|blob| Log { requests: Arc::clone(&self.requests), target: target.clone(), blob, came });
        RequestGuard { counter, log }
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
        TransferGuard { repository, registry, is_sampled: false }
    }

    /// Notes where the bytes of a blob that was filled came from.
    pub(crate) fn filled(&self, blob: &Digest, registry: u64, cache: u64) {
        self.requests.filled(blob, registry, cache);
    }

    /// Notes an image's blobs, in the order of its manifest.
    pub(crate) fn places<'a>(&self, blobs: impl Iterator<Item = &'a Digest>) {
        self.requests.places(blobs);
    }

    /// The requests for manifests and blobs.
    pub(crate) fn requests(&self) -> RequestLog {
        self.requests.log()
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
        let (RegistryCount { stats, fastest, line_bytes, line }, busy) = &*lock(&counter.0);
        let single_connection_rate = fastest.rate().unwrap_or_default();
        // Bytes of a run are far from f64's limits.
        let line_rate = *line_bytes as f64 * 1000.0 / line.millis().max(1) as f64;
        RegistryStats { fetching_ms: busy.millis(), single_connection_rate, line_rate, ..stats.clone() }
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
pub struct RequestGuard {
    counter: Arc<Counter<RepositoryStats>>,
    log: Option<Log>,
}

/// What a request for a manifest or a blob is logged with.
struct Log {
    requests: Arc<Requests>,
    target: Target,
    /// `None` for a manifest.
    blob: Option<Digest>,
    came: Instant,
}

impl RequestGuard {
    /// Counts the answer, with which a content, or a part of one, went to the client.
    pub fn answered(&self, outcome: Outcome, sent: Sent) {
        let bytes = sent.bytes;
        let class = outcome.class();
        if let Some(Log { requests, target, blob, came }) = &self.log
            && class != OutcomeClass::Failed
        {
            let is_miss = class == OutcomeClass::Miss;
            requests.ended(Ended { target, blob: *blob, came: *came, is_miss, sent });
        }
        let (stats, _) = &mut *lock(&self.counter.0);
        stats.served += bytes;
        stats.largest = stats.largest.max(bytes);
        match class {
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
        lock(&self.counter.0).1.end(Instant::now());
    }
}

/// A blob that is being fetched.
pub(crate) struct TransferGuard {
    repository: Arc<Counter<RepositoryStats>>,
    registry: Arc<Counter<RegistryCount>>,
    is_sampled: bool,
}

impl TransferGuard {
    /// Has the transfer tell how fast the registry is, as a client without hubcap would see it: it began at the registry's first
    /// origin.
    pub(crate) fn sampled(mut self) -> Self {
        if !std::mem::replace(&mut self.is_sampled, true) {
            lock(&self.registry.0).0.line.begin(Instant::now());
        }
        self
    }

    /// Counts `bytes` of the blob, over all connections, of which `cached` came from the job's cache.
    pub(crate) fn fetched(&self, bytes: u64, cached: u64) {
        let cached = cached.min(bytes);
        let repository = &mut lock(&self.repository.0).0;
        repository.fetched += bytes - cached;
        repository.cached += cached;
        let RegistryCount { stats, line_bytes, .. } = &mut lock(&self.registry.0).0;
        stats.fetched += bytes - cached;
        if self.is_sampled {
            stats.sampled += bytes - cached;
            *line_bytes += bytes;
        }
    }

    /// Notes the rate of the blob's first connection, which brought `bytes` in `took`.
    pub(crate) fn single_connection(&self, bytes: u64, took: Duration) {
        if !self.is_sampled {
            return;
        }
        lock(&self.registry.0).0.fastest.note(bytes, took);
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        let (count, busy) = &mut *lock(&self.registry.0);
        let now = Instant::now();
        busy.end(now);
        if self.is_sampled {
            count.line.end(now);
        }
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
        let sent = Sent { bytes: 7, ..Sent::default() };
        meter.request(&target, Requested::Tag("1"), Instant::now()).answered(outcome, sent);
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
            meter.request(&target, Requested::Tag(&number.to_string()), Instant::now());
        }
        assert_eq!(meter.repositories()["docker.io/library/x"].tags.len(), MAX_TAGS);
    }

    #[test]
    fn only_a_transfer_that_began_at_the_registry_tells_its_speed() {
        let (meter, target) = (Meter::default(), target("library/x"));
        let count = |transfer: TransferGuard| {
            transfer.fetched(80_000_000, 30_000_000);
            transfer.single_connection(40_000_000, Duration::from_secs(1));
        };
        count(meter.transfer(&target));
        let stats = meter.registry(&target.registry);
        assert_eq!((stats.sampled, stats.line_rate, stats.single_connection_rate), (0, 0.0, 0.0));
        count(meter.transfer(&target).sampled());
        let stats = meter.registry(&target.registry);
        assert_eq!((stats.sampled, stats.single_connection_rate), (50_000_000, 40e6));
        assert!(stats.line_rate > 0.0, "the cache's bytes came over the same line");
    }
}
