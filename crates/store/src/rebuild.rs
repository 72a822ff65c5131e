//! The index from the layout.

use std::sync::Arc;
use std::time::SystemTime;

use crate::index::{Index, TagEntry};
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;

/// Fills the index with everything that is reachable from `index.json`. When a tag was last validated is not in
/// the layout, so every tag will be checked at its next use.
pub(crate) fn index(index: &Index, layout: &Layout, images: &ImageIndex) {
    let mut entries = 0;
    for entry in images.entries() {
        let graph = layout.graph(&entry.descriptor);
        for manifest in graph.manifests() {
            index.put_media_type(&manifest.digest, &manifest.media_type);
        }
        let all: Vec<_> = graph.contents().map(|one| (one.digest, one.size)).collect();
        index.link(&entry.target, &all);
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
