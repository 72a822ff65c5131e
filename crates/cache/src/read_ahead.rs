//! What a client is about to ask for: when an image's manifest goes out, hubcap begins to fetch its configuration, its layers
//! and its attestation.
//!
//! The client may be gone, or may not want it, and whoever made the image has chosen what it names. So it is only what a client
//! takes of an image as they are made, and only as long as all goes well: the rest is fetched when it is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Reference, Referrer};
use hubcap_upstream::RateLimit;

use crate::access::Access;
use crate::cache::Cache;
use crate::error::Failure;
use crate::manifest::content::ManifestContent;

/// Blobs of an image at most: its configuration, and as many layers as dockerd mounts.
const IMAGE_BLOBS: usize = 128;
/// The same of an attestation or a signature: BuildKit makes one for each statement, a signature has two.
const DESCRIPTION_BLOBS: usize = 8;
/// Signatures at most: each who signs an image adds one. Each costs a pull where a registry counts them.
const SIGNATURES: usize = 8;
/// The longest time for an attestation and its signatures: nobody waits for them.
const LONGEST: Duration = Duration::from_secs(20);

impl Cache {
    /// Begins to fill what an image's manifest names and the store does not have, where that is turned on. Returns at
    /// once; a client that asks meanwhile joins the fill.
    pub fn read_ahead(&self, access: &Access, content: &ManifestContent) {
        self.0.meter.places(content.manifest.links.blobs().map(|blob| &blob.digest));
        if !self.config().read_ahead || self.config().offline {
            return;
        }
        let (known, now) = (&self.0.attestations, Instant::now());
        known.note(&access.target, &content.manifest.links.manifests, now);
        if let Some(attestation) = known.of(&access.target, *content.digest(), now) {
            let (cache, access) = (self.clone(), access.clone());
            self.0.tasks.spawn(async move {
                let Ok(_permit) = cache.0.ahead.acquire().await else { return };
                let _ =
                    tokio::time::timeout(LONGEST, cache.read_attestation_ahead(&access, attestation)).await;
            });
        }
        self.read_blobs_ahead(access, content, IMAGE_BLOBS);
    }

    /// Fills an attestation, the list of its referrers, and the first of them that are signatures, one after the other. It ends
    /// where something cannot be had, or the registry's limit is near: what is left of that is for what clients ask for.
    async fn read_attestation_ahead(&self, access: &Access, attestation: Digest) -> Result<(), Failure> {
        let mut wanted = vec![attestation];
        let list = self.referrers(access, &attestation, &[]).await?;
        let signatures = list.value.referrers.iter().filter(|one| one.is_signature());
        wanted.extend(signatures.filter_map(Referrer::digest).take(SIGNATURES));
        drop(list);
        for digest in wanted {
            if self.upstream(access)?.rate_limit().is_some_and(RateLimit::is_near) {
                break;
            }
            let found = self.manifest(access, &Reference::Digest(digest)).await?;
            self.read_blobs_ahead(access, &found.value, DESCRIPTION_BLOBS);
        }
        Ok(())
    }

    fn read_blobs_ahead(&self, access: &Access, content: &ManifestContent, most: usize) {
        let store = self.store();
        let missing = |digest: &Digest| {
            !store.has(digest) && !self.0.filler.is_running(&access.target.registry, digest)
        };
        // Foreign layers are not the registry's.
        let own = content.manifest.links.blobs().filter(|blob| !blob.is_foreign()).take(most);
        let blobs: Vec<Digest> = own.map(|blob| blob.digest).filter(missing).collect();
        if blobs.is_empty() {
            return;
        }
        let (cache, access) = (self.clone(), access.clone());
        self.0.tasks.spawn(async move {
            for digest in blobs {
                // In the manifest's order, which is the order in which clients unpack.
                let Ok(permit) = Arc::clone(&cache.0.ahead).acquire_owned().await else { return };
                let Ok(upstream) = cache.upstream(&access) else { return };
                cache.await_content(&digest).await;
                if cache.store().has(&digest) {
                    continue;
                }
                let mut flight = cache.0.filler.join(upstream, &access, &digest);
                tokio::spawn(async move {
                    if let Some(Ok(mut fill)) = flight.value().await {
                        let _ = fill.content.settled().await;
                    }
                    drop(permit);
                });
            }
        });
    }
}
