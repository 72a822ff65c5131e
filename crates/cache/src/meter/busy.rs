//! How long at least one of several overlapping things went on.

use std::time::{Duration, Instant};

/// Time in which at least one thing runs; time in which two run counts once.
#[derive(Debug, Default)]
pub(super) struct Busy {
    running: u32,
    /// Since when at least one runs.
    since: Option<Instant>,
    total: Duration,
}

impl Busy {
    pub(super) fn begin(&mut self, at: Instant) {
        if self.running == 0 {
            self.since = Some(at);
        }
        self.running += 1;
    }

    /// Ends one of those that were begun.
    pub(super) fn end(&mut self, at: Instant) {
        self.running -= 1;
        if self.running == 0 {
            self.total = self.until(at);
            self.since = None;
        }
    }

    /// The busy time until now, in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        // No run takes 2^64 milliseconds.
        self.until(Instant::now()).as_millis() as u64
    }

    fn until(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_time_counts_once() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut busy = Busy::default();
        busy.begin(start);
        busy.begin(after(1));
        busy.end(after(3));
        busy.end(after(4));
        busy.begin(after(10));
        assert_eq!(busy.until(after(11)), Duration::from_secs(5), "what still runs counts");
        busy.end(after(12));
        assert_eq!(busy.until(after(20)), Duration::from_secs(6));
    }
}
