//! The service's limits. There is one for each call, so that creations never hold up look-ups.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A wait that is longer is no wait that anybody meant.
const MAX: Duration = Duration::from_secs(24 * 3600);

/// The limit of one call.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Option<Instant>>);

impl Limiter {
    /// How long the service is still to be left alone.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Leaves the service alone for so long.
    pub(super) fn close(&self, now: Instant, time: Duration) {
        let until = now + time.min(MAX);
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_limit_is_closed_for_as_long_as_the_service_says() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        assert_eq!(limiter.closed_for(now), None);
        limiter.close(now, 30 * SECOND);
        limiter.close(now, SECOND);
        assert_eq!(limiter.closed_for(now + 10 * SECOND), Some(20 * SECOND));
        assert_eq!(limiter.closed_for(now + 30 * SECOND), None);
    }

    #[test]
    fn no_limit_is_closed_for_longer_than_a_day() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        limiter.close(now, Duration::MAX);
        assert_eq!(limiter.closed_for(now), Some(MAX));
    }
}
