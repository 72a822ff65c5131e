//! The attestations that go with an exported image. They are in the image's index, so the index goes with them.

use hubcap_oci::{Descriptor, Link, Manifest, Platform, media_type};

use crate::layout::Layout;

/// What an image's index says of the attestations of one of its manifests.
#[derive(Debug, Clone)]
pub(super) enum Attested {
    /// Nothing, or the index cannot go into the archive.
    No,
    /// It names some that are not in the store.
    Missing,
    /// These contents belong to the image: the attestations and their blobs.
    By { index: Box<Descriptor>, contents: Vec<Descriptor> },
}

impl Attested {
    /// Looks up the attestations of `manifest`, which `top` has for `platform`.
    ///
    /// podman and skopeo choose from an index by the platform of their machine. So for another platform the manifest goes
    /// alone, as does one whose index is in Docker's form or in another index: podman and skopeo would not find it.
    pub(super) fn find(layout: &Layout, top: &Manifest, manifest: &Descriptor, platform: &Platform) -> Self {
        let links = &top.links.manifests;
        let is_found = top.descriptor.media_type == media_type::OCI_INDEX
            && links.iter().any(|link| link.digest == manifest.digest)
            && Platform::host().rank(platform).is_some();
        let attests = |link: &&Link| is_found && link.refers_to == Some(manifest.digest);
        let mut contents = Vec::new();
        for link in links.iter().filter(attests) {
            let Some(attestation) = layout.verified_manifest(link) else { return Self::Missing };
            for blob in attestation.links.blobs() {
                let Some(size) = layout.size_of(&blob.digest) else { return Self::Missing };
                contents.push(Descriptor::new(blob.media_type.clone(), blob.digest, size));
            }
            contents.push(attestation.descriptor);
        }
        if contents.is_empty() {
            return Self::No;
        }
        Self::By { index: Box::new(top.descriptor.clone()), contents }
    }
}
