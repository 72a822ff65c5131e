//! Whether a shortcut (a HEAD, a range) helps at an origin, remembered for a while, so that each question does not cost two
//! requests. Everything can be had without it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hubcap_oci::Repository;

/// How long an origin is not asked with a shortcut that did not help. It may have been one of several machines.
const LIFE: Duration = Duration::from_secs(300);
/// Repositories that are remembered at most. At those that are not, each question costs two requests.
const MAX: usize = 1024;

/// What is known of one shortcut at one origin; a clone knows the same.
#[derive(Debug, Clone, Default)]
pub struct Shortcut(Arc<Mutex<Option<Instant>>>);

impl Shortcut {
    /// Whether it is worth a try.
    pub(crate) fn may_help(&self, now: Instant) -> bool {
        let useless = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        useless.is_none_or(|since| is_over(since, now))
    }

    /// Notes that the origin gave without it what it had refused, or had told wrongly, with it.
    pub(crate) fn did_not_help(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

/// The same, known of each repository for itself: one in which something is odd must not make all others cost more.
#[derive(Debug, Default)]
pub(crate) struct Shortcuts(Mutex<HashMap<Repository, Instant>>);

impl Shortcuts {
    /// Whether it is worth a try in a repository.
    pub(crate) fn may_help(&self, repository: &Repository, now: Instant) -> bool {
        let useless = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        useless.get(repository).is_none_or(|since| is_over(*since, now))
    }

    /// Notes that the origin gave without it what it had refused, or had told wrongly, with it.
    pub(crate) fn did_not_help(&self, repository: &Repository, now: Instant) {
        let mut useless = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        useless.retain(|_, since| !is_over(*since, now));
        if useless.len() < MAX {
            useless.insert(repository.clone(), now);
        }
    }
}

fn is_over(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= LIFE
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

    #[test]
    fn a_shortcut_is_spared_in_the_repository_in_which_it_did_not_help_and_not_in_many_more_than_there_are() {
        let repository = |number: usize| format!("org/r{number}").parse().expect("a repository");
        let (shortcuts, now) = (Shortcuts::default(), Instant::now());
        for number in 0..2 * MAX {
            assert!(shortcuts.may_help(&repository(number), now));
            shortcuts.did_not_help(&repository(number), now);
        }
        assert!(!shortcuts.may_help(&repository(0), now) && shortcuts.may_help(&repository(2 * MAX), now));
        assert_eq!(shortcuts.0.lock().expect("no panic").len(), MAX);
        assert!(shortcuts.may_help(&repository(0), now + LIFE));
        shortcuts.did_not_help(&repository(2 * MAX), now + LIFE);
        assert!(!shortcuts.may_help(&repository(2 * MAX), now + LIFE), "there is room again");
    }
}
