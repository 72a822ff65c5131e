//! What a request needs, by what is stored and who asks. Pure: nothing here waits, reads or asks.

use crate::authorization::Admission;
use crate::freshness::Freshness;
use crate::outcome::{Outcome, StaleBecause};

/// Content in the store, as a repository knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Whether the upstream has given it from this very repository. Knowing a digest is not permission.
    pub(crate) is_linked: bool,
    pub(crate) freshness: Freshness,
}

impl Stored {
    /// Content by its digest: it never changes.
    pub(crate) const fn by_digest(is_linked: bool) -> Self {
        Self { is_linked, freshness: Freshness::Fresh { ttl: None } }
    }

    /// As what it is served without asking the upstream; `None` when the upstream must be asked.
    pub(crate) fn hit(self, admission: Admission) -> Option<Outcome> {
        match self.freshness {
            Freshness::Fresh { ttl } if self.is_linked && admission == Admission::Free => {
                Some(Outcome::Hit { ttl })
            }
            _ => None,
        }
    }

    /// As what it is served when the upstream could not be asked; `None` when it must not be served.
    pub(crate) fn stale(self, admission: Admission, because: StaleBecause) -> Option<Outcome> {
        let over = match self.freshness {
            Freshness::Fresh { .. } => 0,
            Freshness::Expired { over } => over,
        };
        (self.is_linked && admission != Admission::Ask).then_some(Outcome::Stale { over, because })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Stored = Stored { is_linked: true, freshness: Freshness::Fresh { ttl: Some(5) } };
    const EXPIRED: Stored = Stored { is_linked: true, freshness: Freshness::Expired { over: 7 } };
    const UNLINKED: Stored = Stored::by_digest(false);
    const DOWN: StaleBecause = StaleBecause::UpstreamFailed;

    #[test]
    fn nothing_is_asked_for_what_is_fresh_linked_and_free() {
        assert_eq!(FRESH.hit(Admission::Free), Some(Outcome::Hit { ttl: Some(5) }));
        assert_eq!(Stored::by_digest(true).hit(Admission::Free), Some(Outcome::Hit { ttl: None }));
    }

    #[test]
    fn the_upstream_is_asked_for_an_expired_tag() {
        assert_eq!(EXPIRED.hit(Admission::Free), None);
    }

    #[test]
    fn the_upstream_is_asked_for_what_another_repository_brought() {
        assert_eq!(UNLINKED.hit(Admission::Free), None);
    }

    #[test]
    fn the_upstream_is_asked_for_what_was_not_granted_lately() {
        assert_eq!([Admission::Lapsed, Admission::Ask].map(|admission| FRESH.hit(admission)), [None, None]);
    }

    #[test]
    fn what_is_stored_is_served_stale_to_whom_it_was_granted() {
        let stale = |stored: Stored, admission| stored.stale(admission, DOWN);
        assert_eq!(stale(EXPIRED, Admission::Free), Some(Outcome::Stale { over: 7, because: DOWN }));
        assert_eq!(stale(FRESH, Admission::Lapsed), Some(Outcome::Stale { over: 0, because: DOWN }));
        assert_eq!(stale(EXPIRED, Admission::Lapsed), Some(Outcome::Stale { over: 7, because: DOWN }));
    }

    #[test]
    fn no_trouble_of_an_upstream_gives_out_what_only_it_may_allow() {
        assert_eq!(EXPIRED.stale(Admission::Ask, DOWN), None);
        assert_eq!(UNLINKED.stale(Admission::Free, DOWN), None);
    }
}
