//! Prefetch: fills the store with whole images, as `hubcap pull` asks for it. What happens is told in events; words for
//! people are made of them elsewhere.

mod attestations;
mod event;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use hubcap_oci::select::{self, Found, Search};
use hubcap_oci::{Digest, ImageRef, Link, Manifest, Platform, RangeRequest, Reference, Target};
use hubcap_store::ReadError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::access::Access;
use crate::blob::BlobRequest;
use crate::cache::Cache;
use crate::error;
use crate::lock::lock;
use crate::outcome::{Answer, Outcome};

pub use event::{Bytes, End, Event, Image};

/// Blobs at a time: as many as dockerd and podman take together.
const PARALLEL: usize = 6;

/// Starts to fill the store with `images`, for `platforms`, or for this machine's where none is named. The events end when
/// all is done; who drops them does not stop it.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(
    cache: Cache,
    images: Vec<ImageRef>,
    mut platforms: Vec<Platform>,
) -> mpsc::UnboundedReceiver<Event> {
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    let (events, received) = mpsc::unbounded_channel();
    let permits = Semaphore::new(PARALLEL);
    let prefetch = Arc::new(Prefetch { cache, platforms, permits, seen: Mutex::default(), events });
    tokio::spawn(async move {
        // All at once: the permits limit what is fetched, and a manifest is one request.
        let mut running = Vec::new();
        for image in images {
            let name = image.to_string();
            running.push((name, tokio::spawn(Arc::clone(&prefetch).image(image))));
        }
        for (name, task) in running {
            let end = match task.await.map_err(Error::from).flatten() {
                Ok(end) => end,
                Err(error) => End::Failed { why: error.to_string() },
            };
            prefetch.tell(Event::Image(Image { name, end }));
        }
    });
    received
}

/// The longest configuration that is read for its platform, in bytes.
const MAX_CONFIG: usize = 8 << 20;

/// What is stored of an image so far.
#[derive(Default)]
struct Stored {
    bytes: Bytes,
    notes: Vec<String>,
}

struct Prefetch {
    cache: Cache,
    platforms: Vec<Platform>,
    /// One for each blob that is waited for.
    permits: Semaphore,
    /// Blobs that were begun: one that two images share is fetched once, and counted once.
    seen: Mutex<HashSet<Digest>>,
    events: mpsc::UnboundedSender<Event>,
}

/// A manifest of an index.
struct Chosen {
    manifest: Arc<Manifest>,
    /// The manifests of its index that describe it.
    attestations: Vec<Digest>,
}

/// Why an image could not be stored.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("manifest {reference}: {error}")]
    Manifest { reference: Reference, error: error::Error },
    #[error(transparent)]
    Platform(#[from] select::NotOffered),
    #[error("blob {digest}: {error}")]
    Blob { digest: Digest, error: error::Error },
    #[error("blob {digest}: {error}")]
    Read { digest: Digest, error: ReadError },
    #[error("{0} could not be stored: there is no room for it")]
    NoRoom(Digest),
    #[error("{0} is not stored while the registry's first origin is away: it has not said who may have it")]
    NotPermitted(Digest),
    #[error(transparent)]
    Task(#[from] JoinError),
}

impl Chosen {
    fn digest(&self) -> Digest {
        self.manifest.descriptor.digest
    }
}

impl Prefetch {
    fn tell(&self, event: Event) {
        // Who listened may be gone; the images are wanted all the same.
        let _ = self.events.send(event);
    }

    /// Stores an image. Blobs that another image has begun are not waited for.
    async fn image(self: Arc<Self>, image: ImageRef) -> Result<End, Error> {
        let access = Access::anonymous(Target { registry: image.registry, repository: image.repository });
        let mut stored = Stored::default();
        let top = self.manifest(&access, image.reference, &mut stored.bytes).await?;
        let digest = top.descriptor.digest;
        let mut chosen: Vec<Chosen> = Vec::new();
        if top.is_index() {
            for platform in &self.platforms {
                let one = self.choose(&access, Arc::clone(&top), platform, &mut stored.bytes).await?;
                if chosen.iter().all(|other| other.digest() != one.digest()) {
                    chosen.push(one);
                }
            }
        } else {
            if let Some(own) = self.platform_of(&access, &top, &mut stored.bytes).await
                && self.platforms.iter().all(|wanted| wanted.rank(&own).is_none())
            {
                stored.notes.push(format!("it is for {own} alone, which is not what was asked for"));
            }
            chosen.push(Chosen { manifest: top, attestations: Vec::new() });
        }
        let mut running = JoinSet::new();
        for blob in chosen.iter().flat_map(|one| one.manifest.links.blobs()) {
            if self.is_first(blob.digest) {
                running.spawn(Arc::clone(&self).blob(access.clone(), blob.clone()));
            }
        }
        let mut subjects = Vec::new();
        for one in chosen.iter().filter(|one| !one.attestations.is_empty()) {
            subjects.push(one.digest());
            for attestation in &one.attestations {
                let stored = Arc::clone(&self).attestation(access.clone(), *attestation);
                running.spawn(async { Ok(stored.await) });
            }
        }
        if !subjects.is_empty() {
            subjects.push(digest);
        }
        for subject in subjects {
            let stored = Arc::clone(&self).referrers(access.clone(), subject);
            running.spawn(async { Ok(stored.await) });
        }
        // To the end, even after a failure: another image may count on these blobs.
        let mut failed = None;
        while let Some(task) = running.join_next().await {
            match task.map_err(Error::from).flatten() {
                Ok(one) => {
                    stored.bytes += one.bytes;
                    stored.notes.extend(one.notes);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Stored { bytes, notes } = stored;
        failed.map_or(Ok(End::Stored { digest, bytes, notes }), Err)
    }

    /// The manifest of an index for a platform, as Docker chooses it.
    async fn choose(
        &self,
        access: &Access,
        index: Arc<Manifest>,
        wanted: &Platform,
        bytes: &mut Bytes,
    ) -> Result<Chosen, Error> {
        let mut search = Search::new(wanted, &index.links.manifests);
        let mut indexes = vec![index];
        loop {
            let candidate = search.next_candidate()?;
            let manifest = self.manifest(access, Reference::Digest(candidate.digest()), bytes).await;
            let manifest = match manifest {
                // An index may name what its registry does not have.
                Err(Error::Manifest { error: error::Error::NotFound, .. }) if candidate.is_silent() => {
                    continue;
                }
                manifest => manifest?,
            };
            let is_it = if manifest.is_index() {
                search.is_it(&candidate, Found::Index(&manifest.links.manifests))
            } else {
                let own = match candidate.is_silent() {
                    true => self.platform_of(access, &manifest, bytes).await,
                    false => None,
                };
                search.is_it(&candidate, Found::Manifest(own.as_ref()))
            };
            if is_it {
                let links = indexes.iter().flat_map(|index| &index.links.manifests);
                let attests = links.filter(|link| link.refers_to == Some(manifest.descriptor.digest));
                let attestations = attests.map(|link| link.digest).collect();
                return Ok(Chosen { manifest, attestations });
            }
            if manifest.is_index() {
                indexes.push(manifest);
            }
        }
    }

    /// Whether a blob is not begun yet; it is from now on.
    fn is_first(&self, digest: Digest) -> bool {
        lock(&self.seen).insert(digest)
    }

    /// The platform that an image's configuration says, if it does.
    async fn platform_of(&self, access: &Access, manifest: &Manifest, bytes: &mut Bytes) -> Option<Platform> {
        let digest = manifest.links.config.as_ref()?.digest;
        if lock(&self.seen).insert(digest) {
            match self.fetch(access, digest).await {
                Ok(fetched) => *bytes += fetched,
                Err(_) => {
                    // Told when it is fetched with the layers.
                    lock(&self.seen).remove(&digest);
                    return None;
                }
            }
        }
        let whole = BlobRequest::Get(RangeRequest::Whole);
        let mut body = self.cache.blob(access, &digest, whole).await.ok()?.value.body;
        let mut config = Vec::new();
        while let Some(chunk) = body.chunk().await.ok()? {
            config.extend_from_slice(&chunk);
            if config.len() > MAX_CONFIG {
                return None;
            }
        }
        Platform::of_config(&config)
    }

    async fn manifest(
        &self,
        access: &Access,
        reference: Reference,
        bytes: &mut Bytes,
    ) -> Result<Arc<Manifest>, Error> {
        let answer = self.cache.manifest(access, &reference).await;
        let Answer { value, outcome } =
            answer.map_err(|failure| Error::Manifest { reference, error: failure.error })?;
        *bytes += Bytes::new(outcome, value.manifest.descriptor.size);
        Ok(value.manifest)
    }

    /// Waits until a blob is in the store as a whole. One that its registry need not have may be left out.
    async fn blob(self: Arc<Self>, access: Access, blob: Link) -> Result<Stored, Error> {
        // The semaphore is never closed, so there is always a permit in the end.
        let _permit = self.permits.acquire().await;
        match self.fetch(&access, blob.digest).await {
            Ok(bytes) => Ok(Stored { bytes, ..Stored::default() }),
            Err(error) if blob.is_foreign() => {
                let url = blob.url.map(|url| format!("; clients fetch it from {url}")).unwrap_or_default();
                Ok(Stored {
                    notes: vec![format!("a foreign layer is left out: {error}{url}")],
                    ..Stored::default()
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self, access: &Access, digest: Digest) -> Result<Bytes, Error> {
        let answer = self.cache.blob(access, &digest, BlobRequest::Get(RangeRequest::Whole)).await;
        let Answer { value, outcome } =
            answer.map_err(|failure| Error::Blob { digest, error: failure.error })?;
        let not_stored =
            if outcome == Outcome::Elsewhere { Error::NotPermitted(digest) } else { Error::NoRoom(digest) };
        let mut content = value.into_content().ok_or(not_stored)?;
        let mut received = 0;
        while outcome != (Outcome::Hit { ttl: None }) && content.size().is_none_or(|size| received < size) {
            self.tell(Event::Receiving { digest, received, size: content.size() });
            received = content.grown(received).await.map_err(|error| Error::Read { digest, error })?;
        }
        let size = content.settled().await.map_err(|error| Error::Read { digest, error })?;
        let bytes = Bytes::new(outcome, size);
        self.tell(Event::Received { digest, bytes });
        Ok(bytes)
    }
}
