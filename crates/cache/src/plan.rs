//! What a request needs, by what is stored and who asks. Pure: nothing here waits, reads or asks.

use hubcap_oci::{Digest, Reference};

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

/// What follows when a manifest is stored and must be asked for, and the upstream has answered a HEAD with yes. (What is not
/// stored is asked for with a GET at once. A HEAD costs a round trip, and no pull of a rate limit.)
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterHead {
    /// The yes was all that was missing: the stored manifest, which this repository has as well.
    Link,
    /// The tag means what it meant: the stored manifest, validated now.
    Renew,
    /// GET of this.
    Get(Reference),
}

impl AfterHead {
    /// `stored` is the digest that is in the store, `now` the one that the upstream has told, if it has.
    pub(crate) fn of(reference: &Reference, stored: &Digest, now: Option<Digest>) -> Self {
        match (reference, now) {
            (Reference::Digest(_), _) => Self::Link,
            (Reference::Tag(_), Some(now)) if now == *stored => Self::Renew,
            // By digest, so that the tag cannot move between the two requests.
            (Reference::Tag(_), Some(now)) => Self::Get(Reference::Digest(now)),
            (Reference::Tag(_), None) => Self::Get(reference.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::Algorithm;

    use super::*;

    const FRESH: Stored = Stored { is_linked: true, freshness: Freshness::Fresh { ttl: Some(5) } };
    const EXPIRED: Stored = Stored { is_linked: true, freshness: Freshness::Expired { over: 7 } };
    const UNLINKED: Stored = Stored::by_digest(false);
    const DOWN: StaleBecause = StaleBecause::UpstreamFailed;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    fn tag() -> Reference {
        Reference::Tag("latest".parse().expect("a tag"))
    }

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

    #[test]
    fn a_tag_that_has_not_moved_is_renewed_without_a_get() {
        let stored = digest(b"a");
        assert_eq!(AfterHead::of(&tag(), &stored, Some(stored)), AfterHead::Renew);
    }

    #[test]
    fn a_tag_that_has_moved_is_fetched_by_its_digest() {
        let now = digest(b"b");
        let next = AfterHead::of(&tag(), &digest(b"a"), Some(now));
        assert_eq!(next, AfterHead::Get(Reference::Digest(now)));
    }

    #[test]
    fn a_tag_whose_digest_is_not_told_is_fetched_as_it_is() {
        assert_eq!(AfterHead::of(&tag(), &digest(b"a"), None), AfterHead::Get(tag()));
    }

    #[test]
    fn a_digest_needs_nothing_but_a_yes() {
        let stored = digest(b"a");
        for told in [None, Some(stored), Some(digest(b"b"))] {
            assert_eq!(AfterHead::of(&Reference::Digest(stored), &stored, told), AfterHead::Link);
        }
    }
}
