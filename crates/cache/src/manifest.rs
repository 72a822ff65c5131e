//! Manifests (end-3): by digest for ever, by tag for its TTL.

use std::time::SystemTime;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Descriptor, Digest, Manifest, Reference, Tag, Target};
use hubcap_store::TagEntry;
use hubcap_upstream::Upstream;

use crate::flight::Role;
use crate::freshness::{self, Freshness};
use crate::{Answer, Cache, Error, Failure, Outcome, StaleBecause, on_disk};

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
        target: &Target,
        reference: &Reference,
    ) -> Result<Answer<ManifestContent>, Failure> {
        match reference {
            Reference::Digest(digest) => self.manifest_by_digest(target, digest).await,
            Reference::Tag(tag) => self.manifest_by_tag(target, tag).await,
        }
    }

    async fn manifest_by_digest(
        &self,
        target: &Target,
        digest: &Digest,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let stored = self.stored(digest)?;
        if let Some(content) = stored
            && self.store().is_linked(target, digest)
        {
            return Ok(Answer::new(content, Outcome::Hit { ttl: None }));
        }
        self.fetch(target, &Reference::Digest(*digest), None).await
    }

    async fn manifest_by_tag(&self, target: &Target, tag: &Tag) -> Result<Answer<ManifestContent>, Failure> {
        let reference = Reference::Tag(tag.clone());
        let entry = self.store().tag(target, tag);
        // An entry whose manifest is gone is none.
        let stored = match &entry {
            Some(entry) => self.stored(&entry.descriptor.digest)?,
            None => None,
        };
        let (Some(entry), Some(content)) = (entry, stored) else {
            return self.fetch(target, &reference, None).await;
        };
        let over = match freshness::of_tag(entry.validated_at, SystemTime::now(), self.config().tag_ttl) {
            Freshness::Fresh { ttl } => return Ok(Answer::new(content, Outcome::Hit { ttl: Some(ttl) })),
            Freshness::Expired { over } => over,
        };
        let because = match self.fetch(target, &reference, Some(entry)).await {
            Err(Failure { error: Error::Offline, .. }) => StaleBecause::Offline,
            Err(Failure { error, .. }) if error.is_trouble() => {
                tracing::warn!(target: "hubcap::cache", upstream = %target, tag = %tag,
                    "serving the stored manifest although it is {over} s past its TTL: {error}");
                StaleBecause::UpstreamFailed
            }
            decided => return decided,
        };
        Ok(Answer::new(content, Outcome::Stale { over, because }))
    }

    /// Asks the upstream, once for all who want the same.
    async fn fetch(
        &self,
        target: &Target,
        reference: &Reference,
        known: Option<TagEntry>,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let upstream = self.upstream(target)?;
        let key = (target.clone(), reference.clone());
        let mut seat = self.0.manifests.join(key.clone(), |publisher| {
            let cache = self.clone();
            async move { publisher.publish(cache.ask(&upstream, &key, known).await) }
        });
        let silent = || Error::Internal { why: "the fetch ended without a result".into() };
        let Fetched { content, outcome } = seat.value().await.unwrap_or_else(|| Err(silent()))?;
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
        (target, reference): &(Target, Reference),
        known: Option<TagEntry>,
    ) -> Result<Fetched, Error> {
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
            && let Some(content) = self.stored(&have)?
        {
            let head = upstream.head_manifest(&target.repository, reference).await?;
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
    async fn keep(&self, target: &Target, content: ManifestContent, tag: Option<Tag>) -> Result<(), Error> {
        let (store, name) = (self.store().clone(), target.clone());
        let ManifestContent { descriptor, bytes } = content;
        let manifest = Manifest::parse(descriptor.digest, &bytes, Some(&descriptor.media_type))
            .map_err(|error| Error::WrongContent { why: error.to_string() })?;
        let kept = on_disk(move || store.put_manifest(&name, &manifest, &bytes, tag.as_ref())).await;
        if let Err(error) = kept {
            tracing::warn!(target: "hubcap::cache", upstream = %target, "a manifest could not be stored: {error}");
        }
        Ok(())
    }

    fn stored(&self, digest: &Digest) -> Result<Option<ManifestContent>, Error> {
        let stored = self.store().manifest(digest)?;
        Ok(stored.map(|(descriptor, bytes)| ManifestContent { descriptor, bytes }))
    }
}
