//! Authorization: who may have what is stored of a private repository.
//!
//! A repository is private when its registry refuses it to a client without a login. hubcap finds that out with a HEAD (or a
//! GET, where HEADs do not help) that carries no login, when something of the repository comes in through a login; the store
//! keeps it, and it is found out again after a while ([`Seen`]). What is private is served only to a caller with a *grant*:
//! the upstream itself gave this caller something of the repository, a short while ago.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::{Reference, Target};
use hubcap_store::Store;
use hubcap_upstream::Upstream;

use crate::access::Access;
use crate::limited_map::LimitedMap;
use crate::lock::lock;
use crate::on_disk::on_disk;
use crate::question::{Known, Question};
use crate::storage_warning::StorageWarning;
use crate::visibility::{Seen, Sight};

/// How long a grant is good without asking again.
const GRANT: Duration = Duration::from_secs(300);
/// How long a grant is good while the upstream cannot be asked.
const GRACE: Duration = Duration::from_secs(3600);
/// Grants that are remembered at most. A caller whose grant is not remembered is asked for upstream each time.
const MAX_GRANTS: usize = 10_000;

/// Whether what is stored of a repository may be given to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// At once: the repository is public, or the grant is young.
    Free,
    /// Only while the upstream cannot be asked: the grant is old.
    Lapsed,
    /// Only after the upstream has allowed it.
    Ask,
}

/// What this process has learned of repositories that it reaches through logins.
pub(crate) struct Grants {
    granted: Mutex<LimitedMap<Access, ()>>,
    seen: Seen,
}

impl Default for Grants {
    fn default() -> Self {
        Self { granted: Mutex::new(LimitedMap::new(MAX_GRANTS, GRANT)), seen: Seen::default() }
    }
}

impl Grants {
    /// Whether what is stored of the repository may be given to the caller.
    pub(crate) fn admission(&self, is_private: bool, access: &Access, now: Instant) -> Admission {
        if !is_private {
            return Admission::Free;
        }
        match lock(&self.granted).age(access, now) {
            Some(age) if age < GRANT => Admission::Free,
            Some(age) if age < GRACE => Admission::Lapsed,
            _ => Admission::Ask,
        }
    }

    /// Notes that the upstream has just given something of a private repository to this caller.
    pub(crate) fn grant(&self, access: &Access, now: Instant) {
        lock(&self.granted).insert(access.clone(), (), now);
    }

    /// Finds out whether anybody may have what `upstream` has just given to a caller, and grants it to the caller. This must
    /// be done before the content is linked to the repository: in between, others could have it. `known` is what was given.
    ///
    /// What could not be found out counts as private, unless it was found out a while ago. A disk that does not take the mark
    /// does not cost the caller its answer: the repository is private in memory all the same, and such a disk takes nothing of
    /// it either.
    pub(crate) async fn classify(
        &self,
        store: &Store,
        warning: &StorageWarning,
        upstream: &Upstream,
        question: &Question,
        known: Known,
    ) {
        let target = &question.access.target;
        let was_private = store.is_private(target);
        let is_privileged = upstream.is_privileged().await;
        let is_private = match is_privileged {
            true => self.is_private(upstream, question, known).await,
            false => was_private && self.stays_private(store, upstream, question, known).await,
        };
        if is_private != was_private {
            let now = if is_private { "private, as far as its registry says" } else { "public" };
            tracing::debug!(target: "hubcap::cache", upstream = %target, "the repository is {now}");
            let (store, target) = (store.clone(), target.clone());
            let mark =
                move || if is_private { store.mark_private(&target) } else { store.mark_public(&target) };
            if let Err(error) = on_disk(mark).await {
                warning.warn(&error);
            }
        }
        // What came without a login says nothing of the rest, which only a login gets.
        if is_privileged && store.is_private(target) {
            self.grant(&question.access, Instant::now());
        }
    }

    /// Whether it was found out a short while ago that anybody may have a repository.
    pub(crate) fn is_public(&self, target: &Target) -> bool {
        self.seen.is_public(target, Instant::now())
    }

    /// Whether not everybody may have what a login has just got. What the store says tells nothing: it may be another store than
    /// the one that was told.
    async fn is_private(&self, upstream: &Upstream, question: &Question, known: Known) -> bool {
        let target = &question.access.target;
        if !self.seen.is_due(target, Instant::now()) {
            return self.seen.is_private(target, Instant::now());
        }
        let sight = Sight::of(&question.confirms(&upstream.for_anybody(), known).await);
        self.seen.learn(target, sight, Instant::now())
    }

    /// Whether a private repository stays so after it has given something without a login. That says nothing of what a login
    /// brought before, which is asked about, too: there are rights for parts of a repository, and what stands before a registry has
    /// pages of its own.
    async fn stays_private(
        &self,
        store: &Store,
        upstream: &Upstream,
        question: &Question,
        known: Known,
    ) -> bool {
        let target = &question.access.target;
        let sight = match store.given(target, known.digest()) {
            Some((digest, length)) => {
                let access = &question.access;
                let (question, known) = match length {
                    Some(_) => (Question::blob(access, &digest), Known::Length(length)),
                    None => (Question::manifest(access, &Reference::Digest(digest)), Known::Digest(digest)),
                };
                Sight::of(&question.confirms(&upstream.for_anybody(), known).await)
            }
            None => Sight::Public,
        };
        self.seen.learn(target, sight, Instant::now())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::access::Caller;

    fn access(authorization: Option<&str>) -> Access {
        let target = Target {
            registry: "ghcr.io".parse().expect("a registry"),
            repository: "org/private".parse().expect("a repository"),
        };
        Access { target, caller: Caller::new(authorization) }
    }

    #[test]
    fn anybody_may_have_what_is_public() {
        let admission = Grants::default().admission(false, &access(None), Instant::now());
        assert_eq!(admission, Admission::Free);
    }

    #[test]
    fn what_is_private_is_for_nobody_without_a_grant() {
        let grants = Grants::default();
        for caller in [None, Some("Basic YTpi")] {
            assert_eq!(grants.admission(true, &access(caller), Instant::now()), Admission::Ask);
        }
    }

    #[test]
    fn a_grant_is_for_its_caller_alone() {
        let (grants, now) = (Grants::default(), Instant::now());
        grants.grant(&access(Some("Basic YTpi")), now);
        assert_eq!(grants.admission(true, &access(Some("Basic YTpi")), now), Admission::Free);
        assert_eq!(grants.admission(true, &access(Some("Basic eDp5")), now), Admission::Ask);
        assert_eq!(grants.admission(true, &access(None), now), Admission::Ask);
    }

    #[test]
    fn a_grant_is_for_its_repository_alone() {
        let (grants, now) = (Grants::default(), Instant::now());
        grants.grant(&access(None), now);
        let mut other = access(None);
        other.target.repository = "org/other".parse().expect("a repository");
        assert_eq!(grants.admission(true, &other, now), Admission::Ask);
    }

    #[test]
    fn a_grant_is_good_for_five_minutes_and_for_an_hour_while_nobody_can_be_asked() {
        let (grants, now) = (Grants::default(), Instant::now());
        grants.grant(&access(None), now);
        let after = |seconds| grants.admission(true, &access(None), now + Duration::from_secs(seconds));
        assert_eq!(after(299), Admission::Free);
        assert_eq!(after(300), Admission::Lapsed);
        assert_eq!(after(3599), Admission::Lapsed);
        assert_eq!(after(3600), Admission::Ask);
    }
}
