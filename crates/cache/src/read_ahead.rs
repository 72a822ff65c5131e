//! What a client is about to ask for: when an image's manifest goes out, hubcap begins to fetch its configuration, its layers
//! and its attestations.

use std::sync::Arc;
use std::time::Instant;

use hubcap_oci::{Digest, Reference, Referrer};

use crate::access::Access;
use crate::cache::Cache;
use crate::manifest::content::ManifestContent;

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
        for attestation in known.of(&access.target, *content.digest(), now) {
            let (cache, access) = (self.clone(), access.clone());
            self.0.tasks.spawn(async move { cache.read_attestation_ahead(&access, attestation).await });
        }
        self.read_blobs_ahead(access, content);
    }

    /// Fills an attestation, the list of its referrers, and those of them that are signatures.
    async fn read_attestation_ahead(&self, access: &Access, attestation: Digest) {
        let mut wanted = vec![attestation];
        if let Ok(list) = self.referrers(access, &attestation, &[]).await {
            let signatures = list.value.referrers.iter().filter(|one| one.is_signature());
            wanted.extend(signatures.filter_map(Referrer::digest));
        }
        for digest in wanted {
            if let Ok(found) = self.manifest(access, &Reference::Digest(digest)).await {
                self.read_blobs_ahead(access, &found.value);
            }
        }
    }

    fn read_blobs_ahead(&self, access: &Access, content: &ManifestContent) {
        let store = self.store();
        let missing = |digest: &Digest| {
            !store.has(digest) && !self.0.filler.is_running(&access.target.registry, digest)
        };
        // Foreign layers are not the registry's.
        let own = content.manifest.links.blobs().filter(|blob| !blob.is_foreign());
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
