//! Whether HEADs help at an origin, remembered for a while, so that each question does not cost two requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an origin is not asked with HEADs after one did not help.
const LIFE: Duration = Duration::from_secs(300);

/// Whether HEADs help, at one kind of a registry's endpoints.
#[derive(Debug, Default)]
pub(crate) struct Heads(Mutex<Option<Instant>>);

impl Heads {
    pub(crate) fn help(&self, now: Instant) -> bool {
        let useless = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        useless.is_none_or(|since| now.saturating_duration_since(since) >= LIFE)
    }

    /// Notes that a GET told what a HEAD had not.
    pub(crate) fn did_not_help(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_did_not_help_are_spared_for_a_while() {
        let (heads, now) = (Heads::default(), Instant::now());
        assert!(heads.help(now));
        heads.did_not_help(now);
        assert!(!heads.help(now) && !heads.help(now + LIFE - Duration::from_secs(1)));
        assert!(heads.help(now + LIFE));
    }
}
