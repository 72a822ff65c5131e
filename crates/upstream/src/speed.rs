//! How fast an origin is, measured by what it sends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How much of the measure is the newest sample.
const NEWEST: f64 = 0.3;

/// The speed of one connection, in bytes a second.
#[derive(Debug, Default)]
pub(crate) struct Speed(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    rate: Option<f64>,
    bytes: u64,
}

impl Speed {
    /// Notes that a connection brought `bytes` in `took`.
    pub(crate) fn note(&self, bytes: u64, took: Duration) {
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bytes of a content are far from f64's limits.
        let new = bytes as f64 / took.as_secs_f64().max(1e-6);
        measured.rate = Some(measured.rate.map_or(new, |old| old + NEWEST * (new - old)));
        measured.bytes += bytes;
    }

    /// The speed; `None` while nothing was large enough to tell.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sample_counts_most_of_all_and_not_alone() {
        let speed = Speed::default();
        assert_eq!(speed.rate(), None);
        speed.note(1000, Duration::from_secs(1));
        assert_eq!(speed.rate(), Some(1000.0));
        speed.note(4000, Duration::from_secs(2));
        assert_eq!(speed.rate(), Some(1300.0));
    }
}
