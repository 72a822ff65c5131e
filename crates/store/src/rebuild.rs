//! The index from the layout, and `index.json` from the index: each can be lost, not both.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use fs_err as fs;
use hubcap_oci::{Descriptor, Manifest, Target};

use crate::index::{Index, TagEntry};
use crate::layout::{ImageIndex, Layout};

/// Fills the index with everything that is reachable from `index.json`. When a tag was last validated is not in
/// the layout, so every tag will be checked at its next use.
pub(crate) fn index(index: &Index, layout: &Layout, images: &ImageIndex) {
    let mut entries = 0;
    for entry in images.entries() {
        let found = reach(layout, &entry.descriptor);
        for manifest in &found.manifests {
            index.put_media_type(&manifest.digest, &manifest.media_type);
        }
        let all = found.manifests.iter().chain(&found.blobs);
        index.link(&entry.target, &all.map(|one| (one.digest, one.size)).collect::<Vec<_>>());
        if entry.private {
            index.mark_private(&entry.target);
        }
        if let Some(tag) = &entry.tag {
            let tagged = TagEntry {
                descriptor: Arc::new(entry.descriptor.clone()),
                validated_at: SystemTime::UNIX_EPOCH,
            };
            index.put_tag(&entry.target, tag, &tagged);
        }
        entries += 1;
    }
    if entries > 0 {
        tracing::debug!(target: "hubcap::store", "the index was filled up from {entries} entries of index.json");
    }
}

/// Takes out what names a manifest that is not here; whether there was any. In an archive that was made beside a daemon
/// `index.json` may be younger than the contents.
pub(crate) fn forget_missing(layout: &Layout, images: &mut ImageIndex) -> bool {
    let missing: Vec<_> =
        images.entries().filter(|entry| !layout.blob(&entry.descriptor.digest).exists()).collect();
    images.remove(&missing.iter().collect::<Vec<_>>());
    !missing.is_empty()
}

/// What belongs to an image, whether it is here or not.
pub(crate) struct Reached {
    /// Its manifest or index first, then the index's manifests, with their true media types where they are here.
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) blobs: Vec<Descriptor>,
}

/// Collects a manifest and everything that it points at. The bytes are read without a check of their digest: they
/// only say what belongs together, and are verified before they are served.
pub(crate) fn reach(layout: &Layout, descriptor: &Descriptor) -> Reached {
    let mut reached = Reached { manifests: Vec::new(), blobs: Vec::new() };
    let mut seen = HashSet::new();
    let mut rest = vec![descriptor.clone()];
    while let Some(mut next) = rest.pop() {
        if !seen.insert(next.digest) {
            continue;
        }
        if next.size <= Manifest::MAX_SIZE as u64
            && let Ok(bytes) = fs::read(layout.blob(&next.digest))
            && let Ok(manifest) = Manifest::parse(next.digest, &bytes, Some(&next.media_type))
        {
            next.media_type = manifest.descriptor.media_type;
            reached.blobs.extend(manifest.links.blobs);
            rest.extend(manifest.links.manifests);
        }
        reached.manifests.push(next);
    }
    reached
}

/// What `index.json` can say from the index alone: all tags, and the manifests that no tag names.
pub(crate) fn image_index(index: &Index) -> ImageIndex {
    let mut images = ImageIndex::default();
    let tags = index.all_tags();
    let targets: HashSet<&Target> = tags.iter().map(|(target, _, _)| target).collect();
    for target in targets {
        for digest in index.linked(target) {
            if let Some(media_type) = index.media_type(&digest) {
                let (descriptor, private) =
                    (Descriptor::new(media_type, digest, 0), index.is_private(target));
                images.put((target, None), &descriptor, private);
            }
        }
    }
    for (target, tag, entry) in &tags {
        images.put((target, Some(tag)), &entry.descriptor, index.is_private(target));
    }
    images
}
