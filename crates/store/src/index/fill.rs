//! Filling the index with what the layout says.

use std::sync::Arc;

use hubcap_oci::Link;

use super::trees::{TagEntry, Trees, Validation, tag_key};
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;

/// Adds everything that is reachable from `images`. When a tag was last validated is not in the layout, so every tag will be
/// checked at its next use.
pub(super) fn fill(trees: &Trees, layout: &Layout, images: &ImageIndex) -> sled::Result<()> {
    let mut entries = 0;
    for entry in images.entries() {
        let graph = layout.graph(&Link::from(&entry.descriptor));
        for manifest in graph.manifests() {
            trees.put_media_type(&manifest.digest, &manifest.media_type)?;
        }
        trees.link(&entry.target, &graph.contents().map(|content| content.digest).collect::<Vec<_>>())?;
        if entry.private {
            trees.mark_private(&entry.target)?;
        }
        if let Some(tag) = &entry.tag {
            let descriptor = Arc::new(entry.descriptor.clone());
            let tagged = TagEntry { descriptor, validated: Validation::Unknown };
            trees.put_tag(&tag_key(&entry.target, tag), &tagged)?;
        }
        entries += 1;
    }
    if entries > 0 {
        tracing::debug!(target: "hubcap::store", "the index was filled up from {entries} entries of index.json");
    }
    Ok(())
}
