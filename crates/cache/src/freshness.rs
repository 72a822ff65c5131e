//! Whether a stored tag may be answered without asking: a pure decision.

use std::time::{Duration, SystemTime};

/// What to do with a tag that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Answer it; it is good for so many seconds more.
    Fresh {
        /// Seconds.
        ttl: u64,
    },
    /// Ask the upstream whether it has moved; it ran out so many seconds ago.
    Expired {
        /// Seconds.
        over: u64,
    },
}

/// Decides by age. A tag that was validated in the future (the clock was set back, or the archive came from
/// another machine) counts as validated now, so that it is asked again after one TTL at the latest.
pub fn of_tag(validated_at: SystemTime, now: SystemTime, ttl: Duration) -> Freshness {
    let age = now.duration_since(validated_at).unwrap_or_default();
    match ttl.checked_sub(age) {
        Some(left) if !left.is_zero() => Freshness::Fresh { ttl: left.as_secs() },
        _ => Freshness::Expired { over: (age - ttl).as_secs() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_fresh_until_its_ttl_has_passed() {
        let (ttl, now) = (Duration::from_secs(300), SystemTime::UNIX_EPOCH + Duration::from_secs(10_000));
        let at = |age: u64| of_tag(now - Duration::from_secs(age), now, ttl);
        assert_eq!(at(0), Freshness::Fresh { ttl: 300 });
        assert_eq!(at(299), Freshness::Fresh { ttl: 1 });
        assert_eq!(at(300), Freshness::Expired { over: 0 });
        assert_eq!(at(307), Freshness::Expired { over: 7 });
    }

    #[test]
    fn a_ttl_of_zero_asks_every_time_and_the_future_counts_as_now() {
        let now = SystemTime::now();
        assert_eq!(of_tag(now, now, Duration::ZERO), Freshness::Expired { over: 0 });
        let later = now + Duration::from_secs(60);
        assert_eq!(of_tag(later, now, Duration::from_secs(5)), Freshness::Fresh { ttl: 5 });
    }
}
