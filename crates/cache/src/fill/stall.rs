//! Whether a fill has stalled: its own connections were replaced then, in vain. Requests that want the content get another
//! fill, as themselves: another repository of the registry, or another login, may have it sooner.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hubcap_upstream::Piece;
use tokio::sync::{mpsc, watch};

/// Below this many bytes a second.
const LEAST: u64 = 64 << 10;
/// Over so many looks, one a second: a crawling connection is replaced after 5 s, and once more after 5 s.
const LOOKS: usize = 15;
/// After so many looks below that it has no place any more.
const CRAWLING: usize = 8;

/// The pieces of a content as they come, counted.
pub(super) struct Counted {
    pieces: mpsc::Receiver<Piece>,
    brought: Arc<AtomicU64>,
}

impl Counted {
    /// Counts the bytes of `pieces` in what it returns, too.
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> (Self, Arc<AtomicU64>) {
        let brought = Arc::default();
        (Self { pieces, brought: Arc::clone(&brought) }, brought)
    }

    /// The next one; `None` at the end. Must not be called on a thread of the runtime.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let piece = self.pieces.blocking_recv()?;
        Some(self.count(piece))
    }

    /// The next one, where it is here already.
    pub(super) fn next_if_here(&mut self) -> Option<Piece> {
        let piece = self.pieces.try_recv().ok()?;
        Some(self.count(piece))
    }

    fn count(&self, piece: Piece) -> Piece {
        if let Piece::Chunk { bytes, .. } = &piece {
            self.brought.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        piece
    }
}

/// What looks at a fill, once a second.
pub(super) struct Monitor {
    size: Option<u64>,
    brought: Arc<AtomicU64>,
    /// What was there at the last looks, the oldest first.
    seen: VecDeque<u64>,
    told: watch::Sender<bool>,
}

impl Monitor {
    /// Looks at the fill of a content of `size` bytes, where that is known.
    pub(super) fn new(size: Option<u64>, brought: Arc<AtomicU64>) -> Self {
        Self { size, brought, seen: VecDeque::new(), told: watch::Sender::new(false) }
    }

    /// The news of it.
    pub(super) fn stall(&self) -> Stall {
        Stall(Some(self.told.subscribe()))
    }

    pub(super) fn look(&mut self) {
        self.seen.push_back(self.brought.load(Ordering::Relaxed));
        if self.seen.len() <= LOOKS {
            return;
        }
        let is_stalled = self.was_slow_for(LOOKS);
        self.seen.pop_front();
        self.told.send_if_modified(|told| std::mem::replace(told, is_stalled) != is_stalled);
    }

    /// Whether it has been slow for so long that it needs no place any more: those who wait for one give up after 10 s.
    pub(super) fn crawls(&self) -> bool {
        self.was_slow_for(CRAWLING)
    }

    /// Whether less has come than should over the last so many looks, and the end is not near.
    fn was_slow_for(&self, looks: usize) -> bool {
        let Some(before) = self.seen.len().checked_sub(looks + 1).and_then(|at| self.seen.get(at)) else {
            return false;
        };
        let brought = self.seen.back().copied().unwrap_or(*before);
        let rate = (brought - before) / looks as u64;
        let is_soon_done = self.size.is_some_and(|size| size.saturating_sub(brought) <= rate * LOOKS as u64);
        rate < LEAST && !is_soon_done
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // All has come, or no more will.
        self.told.send_replace(false);
    }
}

/// The news whether a fill has stalled.
#[derive(Debug, Clone)]
pub(crate) struct Stall(Option<watch::Receiver<bool>>);

impl Stall {
    /// Of a content that is here already.
    pub(crate) const fn never() -> Self {
        Self(None)
    }

    /// Whether it has stalled, and not moved again.
    pub(crate) fn is_now(&self) -> bool {
        self.0.as_ref().is_some_and(|told| *told.borrow())
    }

    /// Waits until it has stalled: for ever, where it does not.
    pub(crate) async fn begins(&mut self) {
        if let Some(told) = &mut self.0
            && told.wait_for(|is_stalled| *is_stalled).await.is_ok()
        {
            return;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a fill of `size` bytes that brings so many each second has stalled after so many seconds.
    fn is_stalled(size: Option<u64>, seconds: &[(usize, u64)]) -> bool {
        let brought = Arc::new(AtomicU64::new(0));
        let mut monitor = Monitor::new(size, Arc::clone(&brought));
        let stall = monitor.stall();
        for (count, bytes) in seconds {
            for _ in 0..*count {
                monitor.look();
                brought.fetch_add(*bytes, Ordering::Relaxed);
            }
        }
        monitor.look();
        stall.is_now()
    }

    #[test]
    fn a_fill_that_brings_less_than_64_kib_a_second_for_15_seconds_has_stalled() {
        assert!(is_stalled(None, &[(15, LEAST - 1)]));
        assert!(!is_stalled(None, &[(14, LEAST - 1)]), "too early to tell");
        assert!(!is_stalled(None, &[(15, LEAST)]));
        assert!(is_stalled(None, &[(5, 100 * LEAST), (15, 0)]), "what came before does not count");
    }

    #[test]
    fn a_fill_that_moves_again_has_not_stalled() {
        assert!(!is_stalled(None, &[(20, 0), (1, 15 * LEAST)]));
    }

    #[test]
    fn a_fill_that_is_soon_done_has_not_stalled() {
        assert!(!is_stalled(Some(30_000), &[(15, 1000)]));
        assert!(is_stalled(Some(30_001), &[(15, 1000)]));
        assert!(is_stalled(Some(1), &[(15, 0)]));
    }

    #[tokio::test]
    async fn a_fill_that_ended_never_stalls() {
        let mut stall = Monitor::new(None, Arc::default()).stall();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), stall.begins()).await;
        assert!(waited.is_err());
    }
}
