//! The decisions: what the store answers, what an upstream is asked, and what a client is told of it.
//!
//! Below this crate are the disk ([`hubcap_store`]) and the network ([`hubcap_upstream`]), which do not know
//! each other; above it is HTTP. In the order of a request:
//!
//! - [`manifest`], [`blob`], [`tags`], [`referrers`]: the nouns of the specification, one decision each.
//! - [`freshness`]: whether a stored tag may be answered without asking; pure.
//! - [`flight`]: one fetch per content, however many clients ask.
//! - [`bypass`]: a blob that the disk has no room for.
//! - [`fill`]: the task that fetches a blob; no client stands in its way.
//! - [`outcome`]: the one enum behind `Cache-Status` and the log.
//! - [`error`]: what can go wrong, as a client has to know it.

pub mod blob;
pub mod bypass;
pub mod error;
mod fill;
mod flight;
pub mod freshness;
pub mod manifest;
pub mod outcome;
pub mod referrers;
pub mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hubcap_oci::{Digest, Reference, Registry, Target};
use hubcap_store::Store;
use hubcap_upstream::{Upstream, Upstreams};

pub use blob::BlobContent;
pub use bypass::Through;
pub use error::{Error, Failure};
pub use hubcap_store::{Content, ReadError, Reader};
pub use manifest::ManifestContent;
pub use outcome::{Answer, Outcome, StaleBecause};
pub use tags::TagPage;

use fill::Filling;
use flight::Flights;
use manifest::Fetched;

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Never open a connection: what is not in the store is not found.
    pub offline: bool,
    /// How long a tag is answered without asking the upstream again.
    pub tag_ttl: Duration,
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
    blobs: Flights<Digest, Result<Filling, Error>>,
    manifests: Flights<(Target, Reference), Result<Fetched, Error>>,
    /// Whether the log has been told that the disk is full; once is enough.
    full: AtomicBool,
}

impl Cache {
    /// A cache over a store and its upstreams.
    pub fn new(store: Store, upstreams: Upstreams, config: Config) -> Self {
        let (blobs, manifests) = (Flights::default(), Flights::default());
        let full = AtomicBool::new(false);
        Self(Arc::new(Inner { store, upstreams, config, blobs, manifests, full }))
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

    /// Notes whether the disk takes what comes; the log hears of a change only.
    fn disk_is_full(&self, full: Option<&Error>) {
        let before = self.0.full.swap(full.is_some(), Ordering::Relaxed);
        match full {
            Some(why) if !before => {
                tracing::warn!(target: "hubcap::cache",
                    "{why}: pulls go on, but nothing more is stored until there is room");
            }
            None if before => {
                tracing::info!(target: "hubcap::cache", "there is room again: contents are stored")
            }
            _ => {}
        }
    }

    /// The upstream to ask for `target`: the one place where `--offline` is honoured.
    fn upstream(&self, target: &Target) -> Result<Upstream, Failure> {
        let known = self.0.upstreams.get(&target.registry);
        let upstream = known.ok_or_else(|| Failure {
            error: Error::UnknownRegistry(target.registry.clone()),
            outcome: Outcome::Local,
        })?;
        if self.config().offline {
            return Err(Failure { error: Error::Offline, outcome: Outcome::Offline });
        }
        Ok(upstream)
    }
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
