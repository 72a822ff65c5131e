//! Blobs that a client is about to ask for: when an image's manifest goes out, hubcap begins to
//! fetch its configuration and layers.

use std::sync::Arc;

use hubcap_oci::Digest;

use crate::access::Access;
use crate::cache::Cache;
use crate::manifest::content::ManifestContent;

impl Cache {
    /// Begins to fill what an image's manifest names and the store does not have, where that is turned on. Returns at
    /// once; a client that asks meanwhile joins the fill.
    pub fn read_ahead(&self, access: &Access, content: &ManifestContent) {
        if !self.config().read_ahead || self.config().offline {
            return;
        }
        let store = self.store();
        let missing = |digest: &Digest| !store.has(digest) && !self.0.filler.is_running(digest);
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
