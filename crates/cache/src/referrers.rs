//! Lists of referrers (end-12): each is kept as a whole for the TTL of a tag, and filtered on the way out. An empty one is a
//! list as any other.

use std::time::Instant;

use bytes::Bytes;
use hubcap_oci::referrer::{tag_of, write_list};
use hubcap_oci::{Digest, Reference, Referrer};
use hubcap_store::{Moment, StoredReferrers};
use hubcap_upstream::{ReferrerList, Upstream, room_for_kept};

use crate::access::Access;
use crate::authorization::Admission;
use crate::cache::{Cache, in_time};
use crate::error::{Error, Failure};
use crate::freshness::{self, Freshness};
use crate::on_disk::on_disk;
use crate::outcome::{Answer, Outcome, StaleBecause};
use crate::plan::Stored;
use crate::question::{Content, Question};

/// The longest list that is kept, in bytes: some ten thousand referrers. No client reads a longer one as an index.
const MAX_KEPT: usize = 4 << 20;

/// What the store has for a subject.
struct Found {
    list: ReferrerList,
    freshness: Freshness,
}

impl Cache {
    /// The manifests that refer to `subject`, of one of these types, or all where none is named. A subject that nothing
    /// refers to, or that does not exist, has an empty list.
    ///
    /// # Errors
    /// A [`Failure`]: denied, refused, or an unknown registry. Trouble is answered with what the store has, even if that is
    /// nothing: a client that gets no list gives up the whole pull.
    pub async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        artifact_types: &[String],
    ) -> Result<Answer<ReferrerList>, Failure> {
        let mut answer = self.all_referrers(access, subject).await?;
        answer.value.referrers.retain(|one| one.is_of(artifact_types));
        Ok(answer)
    }

    async fn all_referrers(
        &self,
        access: &Access,
        subject: &Digest,
    ) -> Result<Answer<ReferrerList>, Failure> {
        let mut outcome = Outcome::Miss;
        if let Some(Found { list, freshness }) = self.kept_referrers(access, subject).await? {
            let stored = Stored { is_linked: self.is_for_all(access, subject).await, freshness };
            if let Some(hit) = stored.hit(self.admission(access)) {
                return Ok(Answer::new(list, hit));
            }
            outcome = Outcome::Refreshed;
            // It is read again where it is needed: a list that waits for a newer one would hold its memory.
        }
        // The archive may come to its end while the upstream is asked.
        let was_restoring = self.is_restoring();
        let asking = self.fetch_referrers(access, subject, outcome);
        let can_be_given = outcome == Outcome::Refreshed && self.admission(access) != Admission::Ask;
        match in_time(can_be_given, asking).await {
            Err(failure) => {
                if outcome == Outcome::Miss && was_restoring {
                    // Lists are known when all has come.
                    self.await_names().await;
                }
                let found = self.kept_referrers(access, subject).await?;
                self.stale_referrers(access, subject, found, failure).await
            }
            answered => answered,
        }
    }

    /// A list that is kept, with room for it if it is long.
    async fn kept_referrers(&self, access: &Access, subject: &Digest) -> Result<Option<Found>, Failure> {
        let target = &access.target;
        let Some(size) = self.store().referrers_size(target, subject) else { return Ok(None) };
        let room = room_for_kept(target.registry.as_str(), size).await?;
        let kept = self.store().referrers(target, subject).unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::cache", "going on without what is stored: {error}");
            None
        });
        let Some(StoredReferrers { referrers, bytes, validated }) = kept else { return Ok(None) };
        // As long as the tag would live under which registries without the endpoint have the list.
        let tags = &self.config().tags;
        let ttl = tag_of(subject).map_or(tags.default, |tag| tags.ttl(target, &tag));
        let freshness = freshness::of_tag(validated, Moment::now(), ttl);
        let memory = room.map(|room| room.hold(bytes)).into_iter().collect();
        Ok(Some(Found { list: ReferrerList { memory, ..referrers.into() }, freshness }))
    }

    /// Whether what the registry lists for this caller it lists for all who may have the repository. A registry may tell
    /// who may not have a private repository that it is empty, so of a repository of which it has given nothing yet, only
    /// the list for a caller without a login is everybody's.
    async fn is_for_all(&self, access: &Access, subject: &Digest) -> bool {
        if self.store().is_linked(&access.target, subject) {
            return true;
        }
        match self.upstream(access) {
            Ok(upstream) => !upstream.is_privileged().await,
            Err(_) => false,
        }
    }

    async fn fetch_referrers(
        &self,
        access: &Access,
        subject: &Digest,
        outcome: Outcome,
    ) -> Result<Answer<ReferrerList>, Failure> {
        let upstream = self.upstream(access)?;
        let question = Question::referrers(access, subject);
        let ask = || {
            let (cache, upstream, access, subject) =
                (self.clone(), upstream.clone(), access.clone(), *subject);
            async move { cache.ask_referrers(&upstream, &access, &subject, outcome).await }
        };
        self.ask_once(&self.0.referrers, &question, ask).await
    }

    /// Whether a list may be kept as the repository's. Of one that is not private, not what a login got may be, unless
    /// anybody gets the same: the repository may have become private since. The subject's own answer would not tell that: it may be gone.
    async fn may_be_kept(
        &self,
        upstream: &Upstream,
        access: &Access,
        subject: &Digest,
        list: &Bytes,
    ) -> bool {
        let Access { target, .. } = access;
        if !self.is_for_all(access, subject).await || self.admission(access) == Admission::Ask {
            return false;
        }
        if self.store().is_private(target)
            || self.0.grants.is_public(target)
            || !upstream.is_privileged().await
        {
            return true;
        }
        let to_anybody = upstream.for_anybody().referrers(&target.repository, subject).await;
        to_anybody.is_ok_and(|anybodys| anybodys.is_whole && write_list(&anybodys.referrers) == *list)
    }

    /// The flight itself: the registry's list, which is kept where it is everybody's and not too long.
    async fn ask_referrers(
        &self,
        upstream: &Upstream,
        access: &Access,
        subject: &Digest,
        outcome: Outcome,
    ) -> Result<Answer<ReferrerList>, Error> {
        let asked = Instant::now();
        let list = upstream.referrers(&access.target.repository, subject).await?;
        let bytes = Bytes::from(write_list(&list.referrers));
        let is_short = list.is_whole && bytes.len() <= MAX_KEPT;
        if !is_short || !self.may_be_kept(upstream, access, subject, &bytes).await {
            return Ok(Answer::new(list, Outcome::Passed));
        }
        let (cache, target, subject) = (self.clone(), access.target.clone(), *subject);
        let kept = on_disk(move || {
            let put = || cache.store().put_referrers(&target, &subject, &bytes);
            cache.write_latest(&target, &Content::Referrers(subject), asked, put).transpose()
        });
        let outcome = match kept.await {
            Ok(Some(())) => outcome,
            Ok(None) => Outcome::Passed,
            Err(error) => {
                self.store_takes_nothing(&error);
                Outcome::Bypass
            }
        };
        Ok(Answer::new(list, outcome))
    }

    /// What the store has instead of a failure, where that is better and allowed.
    async fn stale_referrers(
        &self,
        access: &Access,
        subject: &Digest,
        found: Option<Found>,
        failure: Failure,
    ) -> Result<Answer<ReferrerList>, Failure> {
        let ask_as_anybody = async {
            let upstream = self.upstream(access).map_err(|failure| failure.error)?.for_anybody();
            // Not the list: a registry may have an empty one of what it does not have.
            Ok(upstream.manifest_digest(&access.target.repository, &Reference::Digest(*subject)).await?)
        };
        let Some(because) = self.list_is_stale_because(access, &failure, ask_as_anybody).await else {
            return Err(failure);
        };
        let admission = self.admission(access);
        if let Some(Found { list, freshness }) = found
            && let Some(outcome) = (Stored { is_linked: true, freshness }).stale(admission, because)
        {
            if let Outcome::Stale { over, because: StaleBecause::UpstreamFailed } = outcome
                && let Some(more) = self.0.stale_warning.count(&access.target, subject)
            {
                tracing::warn!(target: "hubcap::cache", upstream = %access.target, subject = %subject, more,
                    "serving the stored list of referrers although it is {over} s past its TTL: {}", failure.error);
            }
            return Ok(Answer::new(list, outcome));
        }
        let stored = match admission {
            Admission::Ask => Vec::new(),
            Admission::Free | Admission::Lapsed => {
                self.store().manifests_referring_to(&access.target, subject)?
            }
        };
        let referrers = stored.iter().map(Referrer::from).collect();
        // What was not pulled is missing.
        let list = ReferrerList { referrers, is_whole: false, ..ReferrerList::default() };
        Ok(Answer::new(list, Outcome::Stale { over: 0, because }))
    }
}
