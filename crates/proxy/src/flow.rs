//! How fast a client takes what it is answered, and how long a request that is passed on has no answer: a connection on which
//! next to nothing moves may be given up for a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A connection on which nothing has moved for so long is slow.
const NOTHING: Duration = Duration::from_secs(10);
/// Over so long it is looked at how much a client takes.
const WINDOW: Duration = Duration::from_secs(10);
/// A client that takes less in a second, in bytes, is slow, too.
pub(crate) const LEAST: u64 = 16 << 10;
/// No time at all.
const NEVER: u64 = u64::MAX;

/// The answers of one connection, one after the other; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Flow(Arc<Inner>);

struct Inner {
    began: Instant,
    /// Since when an answer waits for its client, or a request that is passed on for its answer, in milliseconds since `began`;
    /// [`NEVER`] while none does.
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

    /// How long nothing has moved by `now`, if the connection is slow.
    pub(crate) fn slow_for(&self, now: Instant) -> Option<Duration> {
        let Inner { began, waits_since, was_slow } = &*self.0;
        let since = Some(waits_since.load(Ordering::Relaxed)).filter(|since| *since != NEVER)?;
        let since = began.checked_add(Duration::from_millis(since))?;
        let waited = now.saturating_duration_since(since);
        (waited >= NOTHING || was_slow.load(Ordering::Relaxed)).then_some(waited)
    }

    /// Notes that a request is passed on at `now`, and has no answer yet.
    pub(crate) fn wait_for_answer(&self, now: Instant) {
        // How fast the client took another answer says nothing of this wait.
        self.0.was_slow.store(false, Ordering::Relaxed);
        self.wait(now);
    }

    /// Notes that the client has sent something at `now`, which ends no wait but begins it anew.
    pub(crate) fn hear(&self, now: Instant) {
        let anew = |since| (since != NEVER).then(|| self.since_began(now));
        let _ = self.0.waits_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, anew);
    }

    /// Notes that nothing waits.
    pub(crate) fn rest(&self) {
        self.0.waits_since.store(NEVER, Ordering::Relaxed);
    }

    fn wait(&self, now: Instant) {
        self.0.waits_since.store(self.since_began(now), Ordering::Relaxed);
    }

    fn since_began(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.0.began).as_millis();
        u64::try_from(since).unwrap_or(NEVER)
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

    #[test]
    fn a_request_whose_answer_does_not_come_is_slow_from_the_last_that_its_client_has_sent() {
        let (flow, now) = (Flow::new(), Instant::now());
        flow.hear(now);
        assert_eq!(flow.slow_for(now + 2 * NOTHING), None, "nothing waits");
        flow.wait_for_answer(now);
        flow.hear(now + NOTHING - SECOND);
        assert_eq!(flow.slow_for(now + NOTHING + SECOND), None, "it sends its body");
        assert!(flow.slow_for(now + 2 * NOTHING).is_some());
        flow.rest();
        flow.hear(now + NOTHING);
        assert_eq!(flow.slow_for(now + 3 * NOTHING), None, "the answer has begun");
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
