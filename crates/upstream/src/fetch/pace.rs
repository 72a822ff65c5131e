//! Whether an origin crawls: a pure decision, by what it brought while its connections were waited for.
//!
//! Only waiting counts. A reader that is slow itself (a disk, a client) makes no origin slow. The other way round, an
//! origin's [`speed`](crate::speed) is measured with the reader's time in it: both errors keep the fetch where it is.

use std::time::Duration;

/// An origin is judged when it was waited for so long.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// Below this many bytes a second it crawls.
const FLOOR: f64 = (256 << 10) as f64;
/// It crawls as well when the next one is so many times as fast.
const TIMES: f64 = 10.0;
/// Below this many bytes a second a connection is replaced by another one, where there is no other origin.
const LEAST: f64 = (64 << 10) as f64;
/// Below this many bytes a second nothing comes that anybody could wait for.
const NOTHING: f64 = 1024.0;
/// For so long; then the connection is as good as broken.
pub(super) const STANDSTILL: Duration = Duration::from_secs(30);

/// One connection's share in the judgement of its origin.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    /// How long next to nothing has come.
    still: Duration,
    /// What the origin had brought of the content when the window began, over all connections.
    brought: u64,
}

impl Pace {
    /// How long the connection may stay silent until its origin is judged.
    pub(super) fn patience(&self) -> Duration {
        WINDOW.saturating_sub(self.waited)
    }

    /// Notes that the connection was waited for, and that its origin has now brought `brought` bytes of the content. Returns
    /// the bytes a second when the window is over, and begins the next one.
    pub(super) fn note(&mut self, waited: Duration, brought: u64) -> Option<f64> {
        self.waited += waited;
        if self.waited < WINDOW {
            return None;
        }
        // Bytes of a content are far from f64's limits.
        let rate = brought.saturating_sub(self.brought) as f64 / self.waited.as_secs_f64();
        let still = if rate < NOTHING { self.still + self.waited } else { Duration::ZERO };
        *self = Self { waited: Duration::ZERO, still, brought };
        Some(rate)
    }

    /// Whether so little has come for so long that nobody should wait for more.
    pub(super) fn stands_still(&self) -> bool {
        self.still >= STANDSTILL
    }
}

/// Whether a connection at `rate` to the only origin is replaced by another one. `left` is how many bytes are still to come.
pub(super) fn is_too_little(rate: f64, left: Option<u64>) -> bool {
    rate < LEAST && !is_soon_done(rate, left)
}

/// Whether an origin at `rate` is left for the next one, whose speed is `next`, where it was measured. `left` is how many
/// bytes are still to come.
pub(crate) fn crawls(rate: f64, next: Option<f64>, left: Option<u64>) -> bool {
    let is_slow = match next {
        Some(next) => rate < next && rate < FLOOR.max(next / TIMES),
        None => rate < FLOOR,
    };
    is_slow && !is_soon_done(rate, left)
}

fn is_soon_done(rate: f64, left: Option<u64>) -> bool {
    left.is_some_and(|left| left as f64 <= rate * WINDOW.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: f64 = 1024.0;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_origin_is_judged_after_five_seconds_of_waiting() {
        let mut pace = Pace::default();
        for second in 1..5 {
            assert_eq!(pace.note(SECOND, second * 100), None);
        }
        assert_eq!(pace.patience(), SECOND);
        assert_eq!(pace.note(SECOND, 500), Some(100.0));
        assert_eq!((pace.note(SECOND, 600), pace.patience()), (None, 4 * SECOND), "a new window");
    }

    #[test]
    fn a_slow_reader_is_no_slow_origin() {
        let mut pace = Pace::default();
        for chunk in 0..1000 {
            assert_eq!(pace.note(Duration::from_millis(1), chunk), None);
        }
    }

    #[test]
    fn a_connection_stands_still_after_thirty_seconds_of_next_to_nothing() {
        let mut pace = Pace::default();
        let mut note = |brought| {
            pace.note(WINDOW, brought);
            pace.stands_still()
        };
        assert!((1..6).all(|window| !note(window * 5000)));
        assert!(note(6 * 5000));
        assert!(!note(6 * 5000 + 5120), "1 KiB/s is more than nothing");
    }

    #[test]
    fn a_slow_connection_to_the_only_origin_is_replaced_unless_it_is_soon_done() {
        assert!(is_too_little(63.0 * KIB, None));
        assert!(!is_too_little(64.0 * KIB, None));
        assert!(!is_too_little(60.0 * KIB, Some(300 << 10)));
        assert!(is_too_little(60.0 * KIB, Some(301 << 10)));
    }

    #[test]
    fn what_brings_less_than_the_floor_crawls() {
        assert!(crawls(255.0 * KIB, None, None));
        assert!(!crawls(256.0 * KIB, None, None));
    }

    #[test]
    fn what_brings_less_than_a_tenth_of_the_next_crawls() {
        let next = Some(100.0 * 1024.0 * KIB);
        assert!(crawls(9.0 * 1024.0 * KIB, next, None));
        assert!(!crawls(11.0 * 1024.0 * KIB, next, None));
    }

    #[test]
    fn nothing_is_left_for_what_is_slower_still() {
        assert!(!crawls(100.0 * KIB, Some(50.0 * KIB), None));
    }

    #[test]
    fn what_is_soon_done_is_not_left() {
        assert!(!crawls(100.0 * KIB, None, Some(400 << 10)));
        assert!(crawls(100.0 * KIB, None, Some(600 << 10)));
        assert!(crawls(0.0, None, Some(1)));
    }
}
