//! What was asked of each repository since the start, and what it cost: the numbers behind `hubcap down`'s page.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubcap_oci::{Registry, Target};
use hubcap_upstream::RateLimit;

use crate::cache::Cache;
use crate::lock::lock;
use crate::outcome::Outcome;

/// Tags that are remembered of one repository; a page names no more.
const MAX_TAGS: usize = 20;
/// Repositories that are counted apart at most: a stranger who asks for others costs no memory.
const MAX_REPOSITORIES: usize = 10_000;

/// What one repository was asked for.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Tags that were asked for, in their order.
    pub tags: BTreeSet<String>,
    /// Answers from the store.
    pub hits: u64,
    /// Answers that an upstream was needed for.
    pub misses: u64,
    /// Answers from the store because the upstream could not be asked.
    pub stale: u64,
    /// Requests that could not be answered.
    pub failed: u64,
    /// Bytes of contents that went to clients.
    pub served: u64,
    /// Bytes of the largest content that went to a client.
    pub largest: u64,
    /// Bytes of contents that came from the upstream, asked for by a client or read ahead.
    pub fetched: u64,
    /// How long at least one client was being answered.
    pub answering: Duration,
}

/// What one registry brought.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    /// Bytes of blobs.
    pub bytes: u64,
    /// How long at least one blob was coming in.
    pub fetching: Duration,
    /// Bytes a second of the fastest single connection; zero while nothing was large enough to tell.
    pub alone: f64,
    /// Its limit, as it last told it.
    pub rate_limit: Option<RateLimit>,
}

#[derive(Default)]
pub(crate) struct Tallies {
    repositories: Mutex<HashMap<Target, Arc<Counter<Tally>>>>,
    registries: Mutex<BTreeMap<Registry, Arc<Counter<Brought>>>>,
}

/// Numbers, and for how long something was going on.
#[derive(Default)]
struct Counter<T>(Mutex<(T, Busy)>);

#[derive(Default)]
struct Busy {
    running: u32,
    since: Option<Instant>,
    total: Duration,
}

impl Busy {
    fn begin(&mut self, at: Instant) {
        if self.running == 0 {
            self.since = Some(at);
        }
        self.running += 1;
    }

    fn end(&mut self) {
        self.running -= 1;
        if self.running == 0 {
            self.total = self.so_far();
            self.since = None;
        }
    }

    fn so_far(&self) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// One request, counted when it ends.
pub struct Asking(Arc<Counter<Tally>>);

impl Asking {
    /// It was answered so, with so many bytes of a content.
    pub fn answered(&self, outcome: Outcome, bytes: u64) {
        let (tally, _) = &mut *lock(&self.0.0);
        tally.served += bytes;
        tally.largest = tally.largest.max(bytes);
        match outcome {
            Outcome::Hit { .. } | Outcome::Granted | Outcome::Revalidated => tally.hits += 1,
            Outcome::Stale { .. } => tally.stale += 1,
            Outcome::Miss | Outcome::Refreshed | Outcome::Collapsed => tally.misses += 1,
            Outcome::Bypass => {
                tally.misses += 1;
                tally.fetched += bytes;
            }
            Outcome::Passed | Outcome::Local => {}
            Outcome::Refused | Outcome::NotLocked | Outcome::Offline | Outcome::Failed => tally.failed += 1,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.0.0).1.end();
    }
}

/// One fetch of a blob.
pub(crate) struct Bringing {
    repository: Arc<Counter<Tally>>,
    registry: Arc<Counter<Brought>>,
}

/// What one connection brought says something of its speed from so many bytes on.
const TELLING: u64 = 1 << 20;

impl Bringing {
    /// The first connection brought so many bytes in this time; others may have brought more.
    pub(crate) fn alone(&self, bytes: u64, took: Duration) {
        if bytes >= TELLING {
            let registry = &mut lock(&self.registry.0).0;
            // Bytes of a blob are far from f64's limits.
            registry.alone = registry.alone.max(bytes as f64 / took.as_secs_f64().max(1e-6));
        }
    }

    pub(crate) fn brought(&self, bytes: u64) {
        lock(&self.repository.0).0.fetched += bytes;
        lock(&self.registry.0).0.bytes += bytes;
    }
}

impl Drop for Bringing {
    fn drop(&mut self) {
        lock(&self.registry.0).1.end();
    }
}

impl Tallies {
    fn repository(&self, target: &Target) -> Arc<Counter<Tally>> {
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

impl Cache {
    /// Counts a request of a repository that came then, until what is returned is dropped.
    pub fn asking(&self, target: &Target, tag: Option<&str>, came: Instant) -> Asking {
        let counter = self.0.tallies.repository(target);
        {
            let (tally, busy) = &mut *lock(&counter.0);
            busy.begin(came);
            if let Some(tag) = tag
                && tally.tags.len() < MAX_TAGS
                && !tally.tags.contains(tag)
            {
                tally.tags.insert(tag.to_owned());
            }
        }
        Asking(counter)
    }

    /// A manifest came from the upstream.
    pub(crate) fn brought_manifest(&self, target: &Target, bytes: u64) {
        lock(&self.0.tallies.repository(target).0).0.fetched += bytes;
    }

    /// Counts a blob's fetch, from now until what is returned is dropped.
    pub(crate) fn bringing(&self, target: &Target) -> Bringing {
        let repository = self.0.tallies.repository(target);
        let mut registries = lock(&self.0.tallies.registries);
        let registry = Arc::clone(registries.entry(target.registry.clone()).or_default());
        lock(&registry.0).1.begin(Instant::now());
        Bringing { repository, registry }
    }

    /// Every repository that was asked for, by name.
    pub fn tallies(&self) -> BTreeMap<String, Tally> {
        let repositories = lock(&self.0.tallies.repositories);
        let tally = |(target, counter): (&Target, &Arc<Counter<Tally>>)| {
            let (tally, busy) = &*lock(&counter.0);
            (target.to_string(), Tally { answering: busy.so_far(), ..tally.clone() })
        };
        repositories.iter().map(tally).collect()
    }

    /// Every registry that is configured or was asked, and what it brought.
    pub fn brought(&self) -> BTreeMap<Registry, Brought> {
        let counted = lock(&self.0.tallies.registries);
        let brought = |registry: &Registry| {
            let brought = counted.get(registry).map(|counter| {
                let (brought, busy) = &*lock(&counter.0);
                Brought { fetching: busy.so_far(), ..brought.clone() }
            });
            let rate_limit = self.0.upstreams.get(registry).and_then(|upstream| upstream.rate_limit());
            (registry.clone(), Brought { rate_limit, ..brought.unwrap_or_default() })
        };
        self.0.upstreams.registries().iter().map(brought).collect()
    }
}
