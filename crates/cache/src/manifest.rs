//! Manifests (end-3): by digest for ever, by tag for its TTL.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Descriptor, Digest, Manifest, Reference, Tag, Target};
use hubcap_store::TagEntry;
use hubcap_upstream::Upstream;

use crate::authorization::{Access, Admission, Noun};
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::flight::Role;
use crate::freshness::{self, Freshness};
use crate::negative::Refused;
use crate::on_disk::on_disk;
use crate::outcome::{Answer, Outcome, StaleBecause};

/// A manifest for a client: the bytes that were received.
#[derive(Debug, Clone)]
pub struct ManifestContent {
    /// Media type, digest and length.
    pub descriptor: Arc<Descriptor>,
    /// The manifest, as it was received.
    pub bytes: Bytes,
}

/// What a manifest's flight brings home.
#[derive(Clone)]
pub(crate) struct Fetched {
    content: ManifestContent,
    outcome: Outcome,
}

/// What the store has of a reference.
#[derive(Default)]
struct Stored {
    content: Option<ManifestContent>,
    /// What a tag meant when it was last asked for.
    entry: Option<TagEntry>,
    /// Seconds since the tag ran out.
    over: u64,
    /// As what the content may be given out without asking anybody.
    hit: Option<Outcome>,
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
        match (reference, &self.0.frozen) {
            (Reference::Tag(tag), Some(frozen)) => self.manifest_by_lock((access, frozen), tag).await,
            _ => self.manifest_by(access, reference).await,
        }
    }

    /// The same, where it is answered from the store and nobody has to be asked; `None` where that is not so. It takes no
    /// time that is worth a task's, a timer's or a future's cost.
    pub fn manifest_at_hand(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Option<Answer<ManifestContent>> {
        if self.0.frozen.is_some() {
            return None;
        }
        let Stored { content, hit, .. } = self.look_up(access, reference);
        Some(Answer::new(content?, hit?))
    }

    /// By what the reference means in the store and upstream, whatever a lock says.
    pub(crate) async fn manifest_by(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Answer<ManifestContent>, Failure> {
        if let Reference::Digest(digest) = reference {
            self.await_content(digest).await;
        }
        let (mut content, entry, mut over) = match self.look_up(access, reference) {
            Stored { content: Some(content), hit: Some(hit), .. } => return Ok(Answer::new(content, hit)),
            Stored { content, entry, over, .. } => (content, entry, over),
        };
        match self.fetch(access, reference, entry).await {
            Err(failure) => {
                if content.is_none() && self.is_restoring() {
                    // What a tag means is known when all has come.
                    self.await_names().await;
                    Stored { content, over, .. } = self.look_up(access, reference);
                }
                self.stale(access, (content, over), failure)
            }
            answered => answered,
        }
    }

    /// What is stored of it, and whether that may be given out without asking.
    fn look_up(&self, access: &Access, reference: &Reference) -> Stored {
        let target = &access.target;
        let (content, entry, freshness) = match reference {
            Reference::Digest(digest) => {
                let linked = self.store().is_linked(target, digest);
                (self.stored(digest).filter(|_| linked), None, Freshness::Fresh { ttl: None })
            }
            Reference::Tag(tag) => {
                let Some(entry) = self.store().tag(target, tag) else { return Stored::default() };
                let ttl = self.config().tags.ttl(target, tag);
                let freshness = freshness::of_tag(entry.validated_at, SystemTime::now(), ttl);
                (self.stored(&entry.descriptor.digest), Some(entry), freshness)
            }
        };
        if content.is_none() {
            // An entry whose manifest is gone is none.
            return Stored::default();
        }
        match freshness {
            Freshness::Fresh { ttl } => {
                let hit = Outcome::Hit { ttl };
                let hit = Some(hit).filter(|_| self.admission(access) == Admission::Free);
                Stored { content, entry, over: 0, hit }
            }
            Freshness::Expired { over } => Stored { content, entry, over, hit: None },
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
        self.0.negative.check(&refused)?;
        let key = (access.clone(), reference.clone());
        let mut seat = self.0.manifests.join(key.clone(), |publisher| {
            let cache = self.clone();
            async move { publisher.finish(cache.ask(&upstream, &key, known).await) }
        });
        let silent = || Error::Internal { why: "the fetch ended without a result".into() };
        let fetched = seat.value().await.unwrap_or_else(|| Err(silent()));
        self.0.negative.note(refused, &fetched);
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
        Ok(ManifestContent { descriptor: Arc::new(manifest.descriptor), bytes: body.bytes })
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
