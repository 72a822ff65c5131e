//! Whether a shortcut (a HEAD, a range) helps at an origin, remembered for a while, so that each question does not cost two
//! requests. Everything can be had without it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an origin is not asked with a shortcut that did not help. It may have been one of several machines.
const LIFE: Duration = Duration::from_secs(300);

/// What is known of one shortcut at one origin; a clone knows the same.
#[derive(Debug, Clone, Default)]
pub struct Shortcut(Arc<Mutex<Option<Instant>>>);

impl Shortcut {
    /// Whether it is worth a try.
    pub(crate) fn may_help(&self, now: Instant) -> bool {
        let useless = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        useless.is_none_or(|since| now.saturating_duration_since(since) >= LIFE)
    }

    /// Notes that the origin gave without it what it had refused, or had told wrongly, with it.
    pub(crate) fn did_not_help(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcut_that_did_not_help_is_spared_for_a_while() {
        let (shortcut, now) = (Shortcut::default(), Instant::now());
        assert!(shortcut.may_help(now));
        shortcut.clone().did_not_help(now);
        assert!(!shortcut.may_help(now) && !shortcut.may_help(now + LIFE - Duration::from_secs(1)));
        assert!(!shortcut.may_help(now + LIFE / 2));
        assert!(shortcut.may_help(now + LIFE));
    }
}
