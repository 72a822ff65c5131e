//! The manifests that were asked for last, verified already.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::{Digest, Manifest};

/// Bytes of manifests that are kept in memory: a hot manifest costs no disk access, no hash and no parsing. What was parsed
/// of them takes about as much again.
const MAX_BYTES: usize = 8 << 20;

/// Manifests, each with when it was last asked for.
#[derive(Debug, Default)]
pub(super) struct RecentManifests {
    found: HashMap<Digest, (Arc<Manifest>, Bytes, u64)>,
    bytes: usize,
    clock: u64,
}

impl RecentManifests {
    pub(super) fn find(&mut self, digest: &Digest) -> Option<(Arc<Manifest>, Bytes)> {
        self.clock += 1;
        let (manifest, bytes, used) = self.found.get_mut(digest)?;
        *used = self.clock;
        Some((Arc::clone(manifest), bytes.clone()))
    }

    pub(super) fn forget(&mut self, digest: &Digest) {
        if let Some((_, bytes, _)) = self.found.remove(digest) {
            self.bytes -= bytes.len();
        }
    }

    pub(super) fn keep(&mut self, digest: Digest, manifest: Arc<Manifest>, bytes: Bytes) {
        self.clock += 1;
        self.bytes += bytes.len();
        if let Some((_, old, _)) = self.found.insert(digest, (manifest, bytes, self.clock)) {
            self.bytes -= old.len();
        }
        // A scan over some hundred entries, and only when one goes.
        while self.bytes > MAX_BYTES && self.found.len() > 1 {
            let oldest = self.found.iter().min_by_key(|(_, (_, _, used))| *used).map(|(digest, _)| *digest);
            let Some((_, gone, _)) = oldest.and_then(|oldest| self.found.remove(&oldest)) else { break };
            self.bytes -= gone.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Descriptor, Links, media_type};

    use super::*;

    #[test]
    fn the_manifest_that_was_asked_for_longest_ago_goes_first() {
        let mut recent = RecentManifests::default();
        let digests: Vec<Digest> = (0..3).map(|n: u8| Digest::of(Algorithm::Sha256, &[n])).collect();
        for digest in &digests {
            let descriptor = Descriptor::new(media_type::OCI_MANIFEST, *digest, 1);
            let manifest = Manifest { descriptor, links: Links::default() };
            recent.keep(*digest, Arc::new(manifest), vec![0; MAX_BYTES / 5 * 2].into());
            recent.find(&digests[0]);
        }
        let here: Vec<bool> = digests.iter().map(|digest| recent.find(digest).is_some()).collect();
        assert_eq!(here, [true, false, true]);
    }
}
