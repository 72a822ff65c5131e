//! The decisions: what the store answers, what an upstream is asked, and what a client is told of it.
//!
//! Below this crate are the disk ([`hubcap_store`]) and the network ([`hubcap_upstream`]), which do not know
//! each other; above it is HTTP. In the order of a request:
//!
//! - [`manifest`], [`blob`], [`tags`], [`referrers`]: the nouns of the specification, one decision each.
//! - [`freshness`]: whether a stored tag may be answered without asking; pure.
//! - [`frozen`]: tags out of a lock.
//! - [`flight`]: one fetch per content, however many clients ask.
//! - [`access`]: who may have what is private.
//! - [`refusals`]: an upstream's "no", remembered briefly.
//! - [`fill`]: the task that fetches a blob; no client stands in its way.
//! - [`fetch`]: a blob's bytes from the upstream, over as many connections as it takes.
//! - [`ranged`]: several of them at once, where an origin limits each.
//! - [`runs`]: what such a connection brought before its turn.
//! - [`read_ahead`]: an image's blobs, before they are asked for.
//! - [`restore`]: a store that comes in from an archive meanwhile.
//! - [`delivery`]: a blob's bytes to a client.
//! - [`bypass`]: a blob that the store does not take.
//! - [`tally`]: what each repository was asked for, and what it cost.
//! - [`passage`]: what is no pull, to the registry or to others, untouched.
//! - [`outcome`]: the one enum behind `Cache-Status` and the log.
//! - [`error`]: what can go wrong, as a client has to know it.

pub mod access;
pub mod blob;
pub mod bypass;
pub mod delivery;
pub mod error;
mod fetch;
mod fill;
mod flight;
pub mod freshness;
mod frozen;
pub mod manifest;
pub mod outcome;
pub mod passage;
mod ranged;
mod read_ahead;
pub mod referrers;
mod refusals;
mod restore;
mod runs;
pub mod tags;
pub mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Reference, Registry, Tag, Target};
use hubcap_store::Store;
use hubcap_upstream::{Upstream, Upstreams};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

pub use access::{Access, Caller};
pub use blob::{BlobContent, StoredBlob};
pub use bypass::Through;
pub use delivery::Delivery;
pub use error::{Error, Failure};
pub use freshness::{TagRules, Ttl};
pub use frozen::FrozenReport;
pub use hubcap_store::{Content, Restored};
pub use hubcap_upstream::{PassedBody, RateLimit, Reach};
pub use manifest::ManifestContent;
pub use outcome::{Answer, Outcome, StaleBecause};
pub use tags::TagPage;
pub use tally::{Asking, Brought, Tally};

use access::Grants;
use fill::{Fallen, Filling, MAX_FILLS};
use flight::Flights;
use frozen::Frozen;
use manifest::Fetched;
use passage::Pushes;
use ranged::Spare;
use refusals::Refusals;
use tally::Tallies;

/// The log hears of a store that takes nothing once in this time.
const REMIND: Duration = Duration::from_secs(300);

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Never open a connection: what is not in the store is not found.
    pub offline: bool,
    /// How long tags are answered without asking the upstream again.
    pub tags: TagRules,
    /// What each tag means, where nothing else may be believed: other tags are refused.
    pub frozen: Option<Vec<((Target, Tag), Digest)>>,
    /// Whether an image's blobs are fetched when its manifest is asked for, before they are.
    pub read_ahead: bool,
}

/// Whether the client wants the body or only what its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `HEAD`: headers only.
    Head,
    /// `GET`.
    Get,
}

/// The cache; a clone is another handle of the same one.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    store: Store,
    upstreams: Upstreams,
    config: Config,
    frozen: Option<Frozen>,
    /// Where what outlives a request runs: a connection's own event loop is for answers.
    tasks: Handle,
    blobs: Flights<Digest, Result<Filling, Fallen>>,
    manifests: Flights<(Access, Reference), Result<Fetched, Error>>,
    /// Places for fills; all are free when none runs.
    fills: Semaphore,
    /// Places for connections beyond a fill's first.
    spare: Spare,
    /// Places for fills that nobody has asked for.
    ahead: Semaphore,
    grants: Grants,
    refusals: Refusals,
    tallies: Tallies,
    pushes: Pushes,
    restoring: watch::Sender<restore::Progress>,
    /// When the log was last told that the store takes nothing.
    told: Mutex<Option<Instant>>,
}

impl Cache {
    /// A cache over a store and its upstreams. What it fetches it fetches on the runtime that it is made in.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(store: Store, upstreams: Upstreams, mut config: Config) -> Self {
        let tasks = Handle::current();
        Self(Arc::new(Inner {
            frozen: config.frozen.take().map(Frozen::new),
            store,
            upstreams,
            config,
            blobs: Flights::new(tasks.clone()),
            manifests: Flights::new(tasks.clone()),
            tasks,
            spare: Spare::default(),
            ahead: Semaphore::new(read_ahead::MAX),
            fills: Semaphore::new(MAX_FILLS as usize),
            grants: Grants::default(),
            refusals: Refusals::default(),
            tallies: Tallies::default(),
            pushes: Pushes::default(),
            restoring: watch::Sender::default(),
            told: Mutex::default(),
        }))
    }

    /// Waits until no fill runs, for at most `patience`; false when some are abandoned. No fill begins after that.
    pub async fn drain(&self, patience: Duration) -> bool {
        let all = tokio::time::timeout(patience, self.0.fills.acquire_many(MAX_FILLS)).await;
        self.0.fills.close();
        all.is_ok()
    }

    /// Makes what the first miss needs, so that it need not wait for it. Blocks for some 40 ms.
    pub fn prepare(&self) {
        if !self.config().offline {
            self.0.upstreams.prepare();
        }
    }

    /// Whether requests for this registry can be answered: an upstream is configured for it.
    pub fn knows(&self, registry: &Registry) -> bool {
        self.0.upstreams.get(registry).is_some()
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    /// Tells the log, once in a while, that contents go past the store.
    fn store_takes_nothing(&self, why: &Error) {
        let mut told = lock(&self.0.told);
        if told.is_none_or(|at| at.elapsed() >= REMIND) {
            *told = Some(Instant::now());
            tracing::warn!(target: "hubcap::cache", "{why}: pulls go on, but what does not fit is not stored");
        }
    }

    /// The upstream to ask, as this caller may ask it: the one place where `--offline` is honoured.
    fn upstream(&self, access: &Access) -> Result<Upstream, Failure> {
        let registry = &access.target.registry;
        let upstream = self.0.upstreams.get(registry).ok_or_else(|| Failure {
            error: Error::UnknownRegistry(registry.clone()),
            outcome: Outcome::Local,
        })?;
        if self.config().offline {
            return Err(Failure { error: Error::Offline, outcome: Outcome::Offline });
        }
        Ok(self.as_caller(&upstream, access))
    }
}

/// Nothing here is left half-changed by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs store work that writes to the disk where it may block.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, hubcap_store::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Error::from),
        Err(join) => Err(Error::Internal { why: join.to_string() }),
    }
}
