//! A warning to the log that a store takes nothing.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::lock::lock;

/// The warning is written at most once in this time.
const REMIND: Duration = Duration::from_secs(300);

/// When the warning was last written.
#[derive(Default)]
pub(crate) struct StorageWarning(Mutex<Option<Instant>>);

impl StorageWarning {
    /// Warns that contents are served without being stored, unless the log has said so in the last five minutes.
    pub(crate) fn warn(&self, why: &Error) {
        if self.is_due(Instant::now()) {
            tracing::warn!(target: "hubcap::cache", "{why}: pulls go on, but what does not fit is not stored");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = lock(&self.0);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= REMIND);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_in_five_minutes() {
        let (warning, now) = (StorageWarning::default(), Instant::now());
        let after = |seconds| warning.is_due(now + Duration::from_secs(seconds));
        assert_eq!([0, 1, 299, 300, 301].map(after), [true, false, false, true, false]);
    }
}
