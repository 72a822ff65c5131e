//! The manifests that were asked for last, verified already.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::{Digest, Manifest};

/// Bytes of manifests that are kept in memory: a hot manifest costs no disk access, no hash and no parsing. What was parsed
/// of them takes about as much again.
const MAX_BYTES: usize = 8 << 20;

/// A manifest as it was read.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) manifest: Arc<Manifest>,
    pub(super) bytes: Bytes,
    /// The media type that it was read as; `None` for as it says itself.
    pub(super) media_type: Option<Arc<str>>,
}

/// Manifests, each with when it was last asked for.
#[derive(Debug, Default)]
pub(super) struct RecentManifests {
    found: HashMap<Digest, (Recent, u64)>,
    bytes: usize,
    clock: u64,
}

impl RecentManifests {
    /// The manifest, where it was read as this media type.
    pub(super) fn find(
        &mut self,
        digest: &Digest,
        media_type: Option<&Arc<str>>,
    ) -> Option<(Arc<Manifest>, Bytes)> {
        self.clock += 1;
        let (found, used) = self.found.get_mut(digest)?;
        if found.media_type.as_ref() != media_type {
            return None;
        }
        *used = self.clock;
        Some((Arc::clone(&found.manifest), found.bytes.clone()))
    }

    pub(super) fn forget(&mut self, digest: &Digest) {
        if let Some((gone, _)) = self.found.remove(digest) {
            self.bytes -= gone.bytes.len();
        }
    }

    pub(super) fn keep(&mut self, digest: Digest, found: Recent) {
        self.clock += 1;
        self.bytes += found.bytes.len();
        if let Some((old, _)) = self.found.insert(digest, (found, self.clock)) {
            self.bytes -= old.bytes.len();
        }
        // A scan over some hundred entries, and only when one goes.
        while self.bytes > MAX_BYTES && self.found.len() > 1 {
            let oldest = self.found.iter().min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest);
            let Some((gone, _)) = oldest.and_then(|oldest| self.found.remove(&oldest)) else { break };
            self.bytes -= gone.bytes.len();
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
            let bytes = vec![0; MAX_BYTES / 5 * 2].into();
            recent.keep(*digest, Recent { manifest: Arc::new(manifest), bytes, media_type: None });
            recent.find(&digests[0], None);
        }
        let here: Vec<bool> = digests.iter().map(|digest| recent.find(digest, None).is_some()).collect();
        assert_eq!(here, [true, false, true]);
    }

    #[test]
    fn a_manifest_is_found_as_what_it_was_read_as() {
        let mut recent = RecentManifests::default();
        let digest = Digest::of(Algorithm::Sha256, b"");
        let descriptor = Descriptor::new(media_type::OCI_INDEX, digest, 0);
        let manifest = Arc::new(Manifest { descriptor, links: Links::default() });
        let index: Arc<str> = media_type::OCI_INDEX.into();
        let found = Recent { manifest, bytes: Bytes::new(), media_type: Some(Arc::clone(&index)) };
        recent.keep(digest, found);
        assert!(recent.find(&digest, Some(&index)).is_some());
        assert!(recent.find(&digest, None).is_none());
    }
}
