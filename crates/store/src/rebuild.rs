//! The index from the layout, and `index.json` from the index: each can be lost, not both.

use std::collections::HashSet;
use std::time::SystemTime;

use fs_err as fs;
use hubcap_oci::{Descriptor, Digest, Manifest, Target};

use crate::index::{Index, TagEntry};
use crate::layout::{ImageIndex, Layout};

/// Fills the index with everything that is reachable from `index.json`. When a tag was last validated is not in
/// the layout, so every tag will be checked at its next use.
pub(crate) fn index(index: &Index, layout: &Layout, images: &ImageIndex) {
    let mut entries = 0;
    for entry in images.entries() {
        let mut found = Vec::new();
        reach(index, layout, &entry.descriptor, &mut found);
        index.link(&entry.target, &found);
        if let Some(tag) = &entry.tag {
            let tagged =
                TagEntry { descriptor: entry.descriptor.clone(), validated_at: SystemTime::UNIX_EPOCH };
            index.put_tag(&entry.target, tag, &tagged);
        }
        entries += 1;
    }
    if entries > 0 {
        tracing::debug!(target: "hubcap::store", "the index was filled up from {entries} entries of index.json");
    }
}

/// Collects a manifest and everything that it points at. The bytes are read without a check of their digest: they
/// only say what belongs together, and are verified before they are served.
fn reach(index: &Index, layout: &Layout, descriptor: &Descriptor, found: &mut Vec<Digest>) {
    let mut seen = HashSet::new();
    let mut rest = vec![descriptor.clone()];
    while let Some(next) = rest.pop() {
        if !seen.insert(next.digest) {
            continue;
        }
        found.push(next.digest);
        if next.size > Manifest::MAX_SIZE as u64 {
            continue;
        }
        let Ok(bytes) = fs::read(layout.blob(&next.digest)) else { continue };
        if let Ok(manifest) = Manifest::parse(next.digest, &bytes, Some(&next.media_type)) {
            index.put_media_type(&next.digest, &manifest.descriptor.media_type);
            found.extend(manifest.links.blobs.iter().map(|blob| blob.digest));
            rest.extend(manifest.links.manifests);
        }
    }
}

/// What `index.json` can say from the index alone: all tags, and the manifests that no tag names.
pub(crate) fn image_index(index: &Index) -> ImageIndex {
    let mut images = ImageIndex::default();
    let tags = index.all_tags();
    let targets: HashSet<&Target> = tags.iter().map(|(target, _, _)| target).collect();
    for target in targets {
        for digest in index.linked(target) {
            if let Some(media_type) = index.media_type(&digest) {
                images.put(target, None, &Descriptor::new(media_type, digest, 0));
            }
        }
    }
    for (target, tag, entry) in &tags {
        images.put(target, Some(tag), &entry.descriptor);
    }
    images
}
