//! Manifests (end-3): by digest for ever, by tag for its TTL.

pub(crate) mod content;
mod elsewhere;

use std::sync::Arc;
use std::time::Instant;

use hubcap_oci::{Digest, Reference, Tag, Target};
use hubcap_store::{Moment, TagEntry, Validation};
use hubcap_upstream::{SMALL_DOCUMENT, Upstream};

use crate::access::Access;
use crate::authorization::Admission;
use crate::blob::body::BlobBody;
use crate::cache::{Cache, in_time};
use crate::error::{Error, Failure};
use crate::freshness::{self, Freshness};
use crate::manifest::content::ManifestContent;
use crate::on_disk::on_disk;
use crate::others::permitted;
use crate::outcome::{Answer, Outcome, StaleBecause};
use crate::plan::Stored;
use crate::question::{Content, Known, Question};
use crate::tag_lock::TagLock;

/// What the store has for a reference.
#[derive(Clone)]
struct Found {
    content: ManifestContent,
    stored: Stored,
}

impl Cache {
    /// A manifest of a repository.
    ///
    /// A HEAD of what is not stored fetches all of it: every client that asks so gets the body next, and one
    /// request less is sent upstream.
    ///
    /// # Errors
    /// A [`Failure`]: not found, denied, or the upstream cannot be used and nothing is stored.
    pub async fn manifest(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Answer<ManifestContent>, Failure> {
        match (reference, &self.0.tag_lock) {
            (Reference::Tag(tag), Some(tag_lock)) => self.locked_manifest(access, tag, tag_lock).await,
            _ => self.manifest_by(access, reference).await,
        }
    }

    /// The bytes of a manifest that is not small as they are read from its file: in memory, clients that read slowly would
    /// hold them. `None` for a small one, and for one that is not stored.
    pub fn manifest_body(&self, content: &ManifestContent) -> Option<BlobBody> {
        if content.bytes.len() <= SMALL_DOCUMENT {
            return None;
        }
        let stored = self.store().blob(content.digest()).ok()??;
        Some(BlobBody::stored(&stored))
    }

    /// A tag as it is locked: from the store, else fetched by its digest. It is never validated.
    async fn locked_manifest(
        &self,
        access: &Access,
        tag: &Tag,
        tag_lock: &TagLock,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let target = &access.target;
        let digest = tag_lock.digest(target, tag)?;
        let answer = self.manifest_by(access, &Reference::Digest(digest)).await?;
        // So that the store says the same when it is used without the lock, or carried elsewhere. What only another origin has
        // given is not the repository's.
        let is_new = self.store().tag(target, tag).is_none_or(|known| known.descriptor.digest != digest);
        if is_new && self.store().is_linked(target, &digest) {
            let (store, target, tag) = (self.store().clone(), target.clone(), tag.clone());
            let manifest = Arc::clone(&answer.value.manifest);
            // The lock says so, and not the registry: it gives nothing, either.
            let put = move || store.put_tag(&target, &tag, &manifest.descriptor, Validation::Unknown);
            if let Err(error) = on_disk(put).await {
                self.store_takes_nothing(&error);
            }
        }
        if !self.config().offline && tag_lock.begin_comparing(target, tag) {
            let (cache, access, tag) = (self.clone(), access.clone(), tag.clone());
            self.0.tasks.spawn(async move { cache.compare(&access, &tag, digest).await });
        }
        Ok(answer)
    }

    /// Asks the upstream what a locked tag means now, with a HEAD, beside the answer.
    async fn compare(&self, access: &Access, tag: &Tag, locked: Digest) {
        let (Ok(upstream), Some(tag_lock)) = (self.upstream(access), &self.0.tag_lock) else { return };
        let target = &access.target;
        match upstream.manifest_digest(&target.repository, &Reference::Tag(tag.clone())).await {
            Ok(now) if now == locked => {}
            Ok(now) => tag_lock.report_moved(target, tag, &locked, now),
            Err(error) => {
                tracing::debug!(target: "hubcap::frozen", "{target}:{tag} was not compared: {error}");
            }
        }
    }

    /// By what the reference means in the store and upstream, whatever a lock says.
    async fn manifest_by(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Answer<ManifestContent>, Failure> {
        if let Reference::Digest(digest) = reference {
            self.await_content(digest).await;
        }
        let mut found = self.look_up(access, reference);
        if let Some(Found { content, stored }) = &found
            && let Some(hit) = stored.hit(self.admission(access))
        {
            return Ok(Answer::new(content.clone(), hit));
        }
        // The archive may come to its end while the upstream is asked.
        let was_restoring = self.is_restoring();
        let asking = self.fetch(access, reference, found.clone());
        // Not where only the registry may allow it.
        let can_be_given = found.as_ref().is_some_and(|found| {
            found.stored.stale(self.admission(access), StaleBecause::UpstreamFailed).is_some()
        });
        match in_time(can_be_given, asking).await {
            Err(failure) => {
                if found.as_ref().is_none_or(|found| !found.stored.is_linked) && was_restoring {
                    // What a tag means is known when all has come.
                    self.await_names().await;
                    found = self.look_up(access, reference);
                }
                match self.stale(access, reference, found, failure).await {
                    Err(failure) => self.manifest_from_others(access, reference, failure).await,
                    stale => stale,
                }
            }
            answered => answered,
        }
    }

    /// What the store has for a reference.
    fn look_up(&self, access: &Access, reference: &Reference) -> Option<Found> {
        let target = &access.target;
        let (digest, freshness) = match reference {
            Reference::Digest(digest) => (*digest, Freshness::Fresh { ttl: None }),
            Reference::Tag(tag) => {
                let entry = self.store().tag(target, tag)?;
                (entry.descriptor.digest, self.freshness(target, tag, &entry))
            }
        };
        // That a tag means a digest is no permission, either: whoever wrote the store has said so.
        let stored = Stored { is_linked: self.store().is_linked(target, &digest), freshness };
        if !stored.is_linked && !self.store().is_confirmable(target, &digest) {
            return None;
        }
        // A tag whose manifest is gone is not known.
        let content = self.stored(target, &digest)?;
        Some(Found { content, stored })
    }

    /// Whether a tag may be answered without asking.
    fn freshness(&self, target: &Target, tag: &Tag, entry: &TagEntry) -> Freshness {
        freshness::of_tag(entry.validated, Moment::now(), self.config().tags.ttl(target, tag))
    }

    /// What is stored instead of a failure, where that is better and allowed.
    async fn stale(
        &self,
        access: &Access,
        reference: &Reference,
        found: Option<Found>,
        failure: Failure,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let Some(Found { content, stored }) = found else { return Err(failure) };
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let ask_as_anybody = async {
            let upstream = self.upstream(access).map_err(|failure| failure.error)?.for_anybody();
            Ok(upstream.manifest_digest(&access.target.repository, reference).await?)
        };
        let because = match failure.stale_reason() {
            Some(because) => because,
            None if stored.is_linked
                && self.serves_removed(access, tag, &failure.error, ask_as_anybody).await =>
            {
                StaleBecause::Removed
            }
            None => return Err(failure),
        };
        let Some(outcome) = stored.stale(self.admission(access), because) else {
            return Err(failure);
        };
        if let Outcome::Stale { over, because: StaleBecause::UpstreamFailed } = outcome
            && let Some(more) = self.0.stale_warning.count(&access.target, content.digest())
        {
            tracing::warn!(target: "hubcap::cache", upstream = %access.target, digest = %content.digest(), more,
                "serving the stored manifest although it is {over} s past its TTL: {}", failure.error);
        }
        if because == StaleBecause::Removed {
            self.tell_removed(&access.target, tag, &failure.error);
        }
        Ok(Answer::new(content, outcome))
    }

    async fn fetch(
        &self,
        access: &Access,
        reference: &Reference,
        found: Option<Found>,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let upstream = self.upstream(access)?;
        let question = Question::manifest(access, reference);
        let ask = || {
            let (cache, access, reference) = (self.clone(), access.clone(), reference.clone());
            let (upstream, found) = (upstream.clone(), found.clone());
            async move {
                let asked = Instant::now();
                let answer = cache.ask(&upstream, &access, &reference, found, asked).await;
                if let (Err(Error::NotFound), Reference::Tag(tag)) = (&answer, &reference) {
                    cache.note_gone(&access, tag, asked).await;
                }
                answer
            }
        };
        self.ask_once(&self.0.manifests, &question, ask).await
    }

    /// The flight itself: what is stored may be enough, if the upstream says so; else a GET.
    async fn ask(
        &self,
        upstream: &Upstream,
        access: &Access,
        reference: &Reference,
        found: Option<Found>,
        asked: Instant,
    ) -> Result<Answer<ManifestContent>, Error> {
        let repository = &access.target.repository;
        let (body, outcome) = match found {
            Some(Found { content, .. }) => {
                // What is stored was permitted, or will be by the same answer.
                let others = permitted(self.store().is_private(&access.target));
                match upstream.manifest_unless(repository, reference, content.digest(), others).await? {
                    Some(body) => (body, Outcome::Refreshed),
                    None => return Ok(self.confirmed(upstream, access, reference, content, asked).await),
                }
            }
            None => match upstream.manifest(repository, reference).await {
                Ok(body) => (body, Outcome::Miss),
                Err(error) => {
                    let beyond_limit =
                        self.manifest_beyond_limit(upstream, access, reference, asked, &error).await;
                    return beyond_limit.ok_or_else(|| error.into());
                }
            },
        };
        let content = ManifestContent::received(reference, body.bytes, body.media_type.as_deref())?;
        self.0.meter.manifest(&access.target, content.manifest.descriptor.size);
        let known = Known::Digest(*content.digest());
        self.classify(upstream, &Question::manifest(access, reference), known).await;
        let is_kept = self.keep(&access.target, &content, tag_of(reference, asked)).await;
        Ok(Answer::new(content, if is_kept { outcome } else { Outcome::Bypass }))
    }

    /// What is stored, after the upstream has said that this repository has it under this reference.
    async fn confirmed(
        &self,
        upstream: &Upstream,
        access: &Access,
        reference: &Reference,
        content: ManifestContent,
        asked: Instant,
    ) -> Answer<ManifestContent> {
        let known = Known::Digest(*content.digest());
        self.classify(upstream, &Question::manifest(access, reference), known).await;
        let (target, outcome) = match reference {
            Reference::Digest(_) => (&access.target, Outcome::Granted),
            Reference::Tag(_) => (&access.target, Outcome::Revalidated),
        };
        match tag_of(reference, asked) {
            Some((tag, asked)) if self.store().is_linked(target, content.digest()) => {
                self.put_tag(target, tag, &content, asked).await;
            }
            tag => drop(self.keep(target, &content, tag).await),
        }
        Answer::new(content, outcome)
    }

    /// Stores a manifest, its links, and its tag with when the answer was asked for that says so, unless something newer is known
    /// of it. A disk that fails does not cost the client its answer. Whether it was stored.
    pub(crate) async fn keep(
        &self,
        target: &Target,
        content: &ManifestContent,
        tag: Option<(&Tag, Instant)>,
    ) -> bool {
        let (cache, target) = (self.clone(), target.clone());
        let tag = tag.map(|(tag, asked)| (tag.clone(), asked));
        let ManifestContent { manifest, bytes } = content.clone();
        let kept = on_disk(move || {
            let put = |tag: Option<&Tag>| cache.store().put_manifest(&target, &manifest, &bytes, tag);
            let named = tag.and_then(|(tag, asked)| {
                cache.write_latest(&target, &Content::of_tag(&tag), asked, || put(Some(&tag)))
            });
            named.unwrap_or_else(|| put(None))
        })
        .await;
        if let Err(error) = &kept {
            self.store_takes_nothing(error);
        }
        kept.is_ok()
    }

    /// Notes that a tag means a manifest that is stored, as an answer says that was `asked` for then. Another answer may have moved
    /// it meanwhile.
    async fn put_tag(&self, target: &Target, tag: &Tag, content: &ManifestContent, asked: Instant) {
        let (cache, target, tag) = (self.clone(), target.clone(), tag.clone());
        let manifest = Arc::clone(&content.manifest);
        let put = on_disk(move || {
            let put = || cache.store().put_tag(&target, &tag, &manifest.descriptor, Validation::now());
            cache.write_latest(&target, &Content::of_tag(&tag), asked, put).transpose()
        });
        if let Err(error) = put.await {
            self.store_takes_nothing(&error);
        }
    }

    /// Notes that a tag is gone, as an answer says that was `asked` for then: what was asked for earlier does not bring it back, and
    /// where it was stored meanwhile, it is asked for again.
    async fn note_gone(&self, access: &Access, tag: &Tag, asked: Instant) {
        // A no to who may not have the repository tells nothing of it.
        if self.admission(access) == Admission::Ask {
            return;
        }
        let (cache, target, tag) = (self.clone(), access.target.clone(), tag.clone());
        let noted = on_disk(move || {
            cache.write_latest(&target, &Content::of_tag(&tag), asked, || {
                // When one that has expired was confirmed is told where it is served all the same.
                let known = cache.store().tag(&target, &tag);
                let known = known.map(|entry| cache.freshness(&target, &tag, &entry));
                if matches!(known, Some(Freshness::Fresh { .. })) {
                    cache.store().expire_tag(&target, &tag);
                }
            });
            Ok::<_, Error>(())
        });
        if let Err(error) = noted.await {
            tracing::debug!(target: "hubcap::cache", upstream = %access.target, "a tag that is gone is not noted: {error}");
        }
    }

    fn stored(&self, target: &Target, digest: &Digest) -> Option<ManifestContent> {
        let stored = self.store().manifest(target, digest).unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::cache", "going on without what is stored: {error}");
            None
        });
        stored.map(|(manifest, bytes)| ManifestContent { manifest, bytes })
    }
}

/// The tag that was `asked` for then.
pub(crate) const fn tag_of(reference: &Reference, asked: Instant) -> Option<(&Tag, Instant)> {
    match reference {
        Reference::Tag(tag) => Some((tag, asked)),
        Reference::Digest(_) => None,
    }
}
