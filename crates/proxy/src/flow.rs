//! How fast a client takes what it is answered: a connection that takes next to nothing may be given up for a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A client that has taken nothing for so long is slow.
const NOTHING: Duration = Duration::from_secs(10);
/// Over so long it is looked at how much a client takes.
const WINDOW: Duration = Duration::from_secs(10);
/// A client that takes less in a second, in bytes, is slow, too.
const LEAST: u64 = 16 << 10;
/// No time at all.
const NEVER: u64 = u64::MAX;

/// The answers of one connection, one after the other; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Flow(Arc<Inner>);

struct Inner {
    began: Instant,
    /// Since when an answer waits for its client, in milliseconds since `began`; [`NEVER`] while none does.
    waits_since: AtomicU64,
    /// Whether the client was slow in the last window.
    was_slow: AtomicBool,
}

impl Flow {
    pub(crate) fn new() -> Self {
        let (waits_since, was_slow) = (AtomicU64::new(NEVER), AtomicBool::new(false));
        Self(Arc::new(Inner { began: Instant::now(), waits_since, was_slow }))
    }

    /// One whose client has taken nothing since then.
    #[cfg(test)]
    pub(crate) fn slow_since(began: Instant) -> Self {
        let (waits_since, was_slow) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { began, waits_since, was_slow }))
    }

    /// How long an answer has waited for its client by `now`, if the client is slow.
    pub(crate) fn slow_for(&self, now: Instant) -> Option<Duration> {
        let Inner { began, waits_since, was_slow } = &*self.0;
        let since = Some(waits_since.load(Ordering::Relaxed)).filter(|since| *since != NEVER)?;
        let since = began.checked_add(Duration::from_millis(since))?;
        let waited = now.saturating_duration_since(since);
        (waited >= NOTHING || was_slow.load(Ordering::Relaxed)).then_some(waited)
    }

    /// Notes that no answer waits.
    pub(crate) fn rest(&self) {
        self.0.waits_since.store(NEVER, Ordering::Relaxed);
    }

    fn wait(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.began).as_millis();
        self.0.waits_since.store(u64::try_from(since).unwrap_or(NEVER), Ordering::Relaxed);
    }
}

/// What one answer's client takes.
pub(crate) struct Taking {
    flow: Flow,
    window: Instant,
    bytes: u64,
    waited: Duration,
}

impl Taking {
    pub(crate) fn new(flow: Flow) -> Self {
        Self { flow, window: Instant::now(), bytes: 0, waited: Duration::ZERO }
    }

    /// Notes that bytes were given at `now`, for which the client has to make room before it gets more.
    pub(crate) fn given(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        self.flow.wait(now);
    }

    /// Notes that there is room for more at `now`, after the answer has `waited` for that.
    pub(crate) fn asked(&mut self, waited: Duration, now: Instant) {
        self.flow.rest();
        self.waited += waited;
        let age = now.saturating_duration_since(self.window);
        if age < WINDOW {
            return;
        }
        // Who waits for a registry is not slow.
        let is_its_own_doing = self.waited > age / 2;
        let is_slow = is_its_own_doing && self.bytes < LEAST * age.as_secs();
        self.flow.0.was_slow.store(is_slow, Ordering::Relaxed);
        (self.window, self.bytes, self.waited) = (now, 0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_that_takes_nothing_is_slow() {
        let (flow, now) = (Flow::new(), Instant::now());
        let mut taking = Taking::new(flow.clone());
        assert_eq!(flow.slow_for(now + NOTHING), None, "nothing was given to it");
        taking.given(64 << 10, now);
        assert_eq!(flow.slow_for(now + NOTHING / 2), None);
        assert!(flow.slow_for(now + NOTHING + SECOND).is_some());
        taking.asked(NOTHING, now + NOTHING + SECOND);
        assert_eq!(flow.slow_for(now + 2 * NOTHING), None, "it has made room");
    }

    /// Whether a client is slow that gets so many bytes a second, for which it lets wait so long each.
    fn is_slow(bytes: u64, waits: Duration) -> bool {
        let (flow, mut now) = (Flow::new(), Instant::now());
        let mut taking = Taking::new(flow.clone());
        for _ in 0..25 {
            taking.given(bytes, now);
            now += SECOND;
            taking.asked(waits, now);
        }
        taking.given(bytes, now);
        flow.slow_for(now).is_some()
    }

    #[test]
    fn a_client_that_takes_next_to_nothing_is_slow_and_one_that_waits_for_a_registry_is_not() {
        assert!(is_slow(1000, SECOND));
        assert!(!is_slow(1000, SECOND / 10), "the registry gave no more");
        assert!(!is_slow(64 << 10, SECOND));
    }
}
