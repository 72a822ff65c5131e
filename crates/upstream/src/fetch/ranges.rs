//! Whether an origin gives ranges, as far as it was found out. Ranges are a privilege: every content can be had without.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long an origin that refused a range is asked for none. It may have been one of several machines.
const REST: Duration = Duration::from_secs(300);

/// What is known of one origin; a clone knows the same.
#[derive(Debug, Clone, Default)]
pub struct Ranges(Arc<Mutex<Option<Instant>>>);

impl Ranges {
    /// Whether it is worth asking for a range.
    pub(crate) fn may_work(&self) -> bool {
        self.may_work_at(Instant::now())
    }

    /// Notes that the origin refused a range, ignored it, or gave something else, while the whole can be had.
    pub(crate) fn distrust(&self) {
        self.distrust_at(Instant::now());
    }

    fn may_work_at(&self, now: Instant) -> bool {
        let refused = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|at| now.saturating_duration_since(at) >= REST)
    }

    fn distrust_at(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_refused_a_range_is_asked_for_one_again_after_a_while() {
        let (ranges, now) = (Ranges::default(), Instant::now());
        assert!(ranges.may_work_at(now));
        ranges.clone().distrust_at(now);
        assert!(!ranges.may_work_at(now + REST / 2));
        assert!(ranges.may_work_at(now + REST));
    }
}
