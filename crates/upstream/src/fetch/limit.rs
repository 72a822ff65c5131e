//! How many connections fetch at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections beyond each content's first: of all contents together, and of those of one origin, so that a slow origin
/// does not take them all.
const ALL: usize = 24;
const ONE_ORIGIN: usize = 16;

/// The limit on connections beyond each content's first; a clone counts against the same limit.
#[derive(Debug, Clone)]
pub struct ConnectionLimit {
    all: Arc<Semaphore>,
    origin: Arc<Semaphore>,
}

/// One connection's permits, which it holds for as long as it fetches.
pub(crate) struct Permits {
    _origin: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// A limit for one origin, and for all those that [`for_origin`](Self::for_origin) derives from it.
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), origin: Arc::new(Semaphore::new(ONE_ORIGIN)) }
    }

    /// A limit of so many connections.
    #[cfg(test)]
    pub(super) fn of(connections: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), origin: Arc::new(Semaphore::new(connections)) }
    }

    /// The limit for another origin, within the same limit for all.
    pub(crate) fn for_origin(&self) -> Self {
        Self { all: Arc::clone(&self.all), origin: Arc::new(Semaphore::new(ONE_ORIGIN)) }
    }

    /// Waits for permits for one more connection. Who waits longest gets them first, so the content that was asked for first.
    pub(crate) async fn acquire(&self) -> Option<Permits> {
        let origin = Arc::clone(&self.origin).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permits { _origin: origin, _all: all })
    }

    /// Permits for one more connection; `None` when the limit is reached.
    pub(crate) fn try_acquire(&self) -> Option<Permits> {
        let origin = Arc::clone(&self.origin).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permits { _origin: origin, _all: all })
    }
}
