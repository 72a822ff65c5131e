//! Manifests (end-3): by digest for ever, by tag for its TTL.

use std::time::SystemTime;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Descriptor, Digest, Manifest, Reference, Tag, Target};
use hubcap_store::TagEntry;
use hubcap_upstream::Upstream;

use crate::access::{Admission, Noun};
use crate::flight::Role;
use crate::freshness::{self, Freshness};
use crate::refusals::Refused;
use crate::{Access, Answer, Cache, Error, Failure, Outcome, StaleBecause, on_disk};

/// A manifest for a client: the bytes that were received.
#[derive(Debug, Clone)]
pub struct ManifestContent {
    /// Media type, digest and length.
    pub descriptor: Descriptor,
    /// The manifest, as it was received.
    pub bytes: Bytes,
}

/// What a manifest's flight brings home.
#[derive(Clone)]
pub(crate) struct Fetched {
    content: ManifestContent,
    outcome: Outcome,
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
        match reference {
            Reference::Digest(digest) => self.manifest_by_digest(access, digest).await,
            Reference::Tag(tag) => match &self.0.frozen {
                Some(frozen) => self.manifest_by_lock((access, frozen), tag).await,
                None => self.manifest_by_tag(access, tag).await,
            },
        }
    }

    pub(crate) async fn manifest_by_digest(
        &self,
        access: &Access,
        digest: &Digest,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let linked = self.store().is_linked(&access.target, digest);
        let stored = self.stored(digest).filter(|_| linked);
        let admission = self.admission(access);
        if admission == Admission::Free
            && let Some(content) = stored
        {
            return Ok(Answer::new(content, Outcome::Hit { ttl: None }));
        }
        match self.fetch(access, &Reference::Digest(*digest), None).await {
            Err(failure) => self.stale(access, (stored, 0), failure),
            answered => answered,
        }
    }

    async fn manifest_by_tag(&self, access: &Access, tag: &Tag) -> Result<Answer<ManifestContent>, Failure> {
        let reference = Reference::Tag(tag.clone());
        let target = &access.target;
        let entry = self.store().tag(target, tag);
        // An entry whose manifest is gone is none.
        let stored = entry.as_ref().and_then(|entry| self.stored(&entry.descriptor.digest));
        let (Some(entry), Some(content)) = (entry, stored) else {
            return self.fetch(access, &reference, None).await;
        };
        let ttl = self.config().tags.ttl(target, tag);
        let over = match freshness::of_tag(entry.validated_at, SystemTime::now(), ttl) {
            Freshness::Fresh { ttl } if self.admission(access) == Admission::Free => {
                return Ok(Answer::new(content, Outcome::Hit { ttl }));
            }
            Freshness::Fresh { .. } => 0,
            Freshness::Expired { over } => over,
        };
        match self.fetch(access, &reference, Some(entry)).await {
            Err(failure) => self.stale(access, (Some(content), over), failure),
            answered => answered,
        }
    }

    /// What is stored instead of a failure, where that is better and allowed.
    fn stale(
        &self,
        access: &Access,
        (stored, over): (Option<ManifestContent>, u64),
        failure: Failure,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let because = match &failure.error {
            Error::Offline => StaleBecause::Offline,
            error if error.is_trouble() => StaleBecause::UpstreamFailed,
            _ => return Err(failure),
        };
        let Some(content) = stored.filter(|_| self.admission(access) != Admission::Ask) else {
            return Err(failure);
        };
        if because == StaleBecause::UpstreamFailed {
            tracing::warn!(target: "hubcap::cache", upstream = %access.target, digest = %content.descriptor.digest,
                "serving the stored manifest although it is {over} s past its TTL: {}", failure.error);
        }
        Ok(Answer::new(content, Outcome::Stale { over, because }))
    }

    /// Asks the upstream, once for all who want the same.
    async fn fetch(
        &self,
        access: &Access,
        reference: &Reference,
        known: Option<TagEntry>,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let upstream = self.upstream(access)?;
        let refused = Refused::Manifest(access.clone(), reference.clone());
        self.0.refusals.check(&refused)?;
        let key = (access.clone(), reference.clone());
        let mut seat = self.0.manifests.join(key.clone(), |publisher| {
            let cache = self.clone();
            async move { publisher.finish(cache.ask(&upstream, &key, known).await) }
        });
        let silent = || Error::Internal { why: "the fetch ended without a result".into() };
        let fetched = seat.value().await.unwrap_or_else(|| Err(silent()));
        self.0.refusals.note(refused, &fetched);
        let Fetched { content, outcome } = fetched?;
        let outcome = match (seat.role, outcome) {
            (Role::Follower, Outcome::Miss | Outcome::Refreshed) => Outcome::Collapsed,
            (_, outcome) => outcome,
        };
        Ok(Answer::new(content, outcome))
    }

    /// The flight itself: a HEAD, which costs no pull, where that may be enough, else a GET.
    async fn ask(
        &self,
        upstream: &Upstream,
        (access, reference): &(Access, Reference),
        known: Option<TagEntry>,
    ) -> Result<Fetched, Error> {
        let target = &access.target;
        let tag = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        let have = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => known.as_ref().map(|entry| entry.descriptor.digest),
        };
        let mut wanted = reference.clone();
        if let Some(have) = have
            && let Some(content) = self.stored(&have)
        {
            let head = upstream.head_manifest(&target.repository, reference).await?;
            self.classify(upstream, access, &Noun::Manifest(reference)).await;
            match (tag, head.digest) {
                // By digest the upstream's 200 is all that was missing: the bytes are here, and verified.
                (None, _) => {
                    self.keep(target, content.clone(), None).await?;
                    return Ok(Fetched { content, outcome: Outcome::Granted });
                }
                (Some(tag), Some(digest)) if digest == have => {
                    self.store().touch_tag(target, tag)?;
                    return Ok(Fetched { content, outcome: Outcome::Revalidated });
                }
                // By its digest, so that it cannot move between the two requests.
                (Some(_), Some(digest)) => wanted = Reference::Digest(digest),
                (Some(_), None) => {}
            }
        }
        let content = self.get(upstream, target, &wanted).await?;
        self.brought_manifest(target, content.descriptor.size);
        self.classify(upstream, access, &Noun::Manifest(&wanted)).await;
        self.keep(target, content.clone(), tag.cloned()).await?;
        let outcome = if known.is_some() { Outcome::Refreshed } else { Outcome::Miss };
        Ok(Fetched { content, outcome })
    }

    /// Fetches and verifies a manifest.
    async fn get(
        &self,
        upstream: &Upstream,
        target: &Target,
        reference: &Reference,
    ) -> Result<ManifestContent, Error> {
        let body = upstream.manifest(&target.repository, reference).await?;
        let algorithm = match reference {
            Reference::Digest(digest) => digest.algorithm(),
            Reference::Tag(_) => Algorithm::Sha256,
        };
        let actual = Digest::of(algorithm, &body.bytes);
        if let Reference::Digest(expected) = reference
            && *expected != actual
        {
            return Err(Error::WrongContent { why: format!("asked for {expected}, got {actual}") });
        }
        let manifest = Manifest::parse(actual, &body.bytes, body.media_type.as_deref())
            .map_err(|error| Error::WrongContent { why: error.to_string() })?;
        Ok(ManifestContent { descriptor: manifest.descriptor, bytes: body.bytes })
    }

    /// Stores a manifest, its links and its tag. A disk that fails does not cost the client its answer.
    pub(crate) async fn keep(
        &self,
        target: &Target,
        content: ManifestContent,
        tag: Option<Tag>,
    ) -> Result<(), Error> {
        let (store, name) = (self.store().clone(), target.clone());
        let ManifestContent { descriptor, bytes } = content;
        let manifest = Manifest::parse(descriptor.digest, &bytes, Some(&descriptor.media_type))
            .map_err(|error| Error::WrongContent { why: error.to_string() })?;
        let kept = on_disk(move || store.put_manifest(&name, &manifest, &bytes, tag.as_ref())).await;
        if let Err(error) = kept {
            self.store_takes_nothing(&error);
        }
        Ok(())
    }

    fn stored(&self, digest: &Digest) -> Option<ManifestContent> {
        let stored = self.store().manifest(digest).unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::cache", "going on without what is stored: {error}");
            None
        });
        stored.map(|(descriptor, bytes)| ManifestContent { descriptor, bytes })
    }
}
