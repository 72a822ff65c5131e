//! Filling the index with what the layout says.

use std::sync::Arc;

use hubcap_oci::Link;

use super::trees::{TagEntry, Trees, Validation, link_key, tag_key};
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;

/// Adds everything that is reachable from `images`. When a tag was last validated is not in the layout, so every tag will be
/// checked at its next use.
pub(super) fn fill(trees: &Trees, layout: &Layout, images: &ImageIndex) -> sled::Result<()> {
    let mut entries = 0;
    for entry in images.entries() {
        let graph = layout.graph(&Link::from(&entry.descriptor));
        // A list of referrers is nobody's manifest: hubcap has written it.
        let is_own = |link: &&Link| entry.subject.is_none() || link.digest != entry.descriptor.digest;
        for manifest in graph.manifests().filter(is_own) {
            // That the registry gave what is deeper down for this repository is not known, and need not be of what anybody
            // may have.
            if manifest.digest == entry.descriptor.digest || layout.is_public(&manifest.digest) {
                trees.own(&entry.target, &manifest.digest, Some(&manifest.media_type))?;
            }
        }
        let linked = graph.contents().filter(is_own).map(|content| content.digest);
        trees.link(&entry.target, &linked.collect::<Vec<_>>())?;
        if entry.private {
            trees.mark(&entry.target, true)?;
        }
        let descriptor = Arc::new(entry.descriptor.clone());
        let known = TagEntry { descriptor, validated: Validation::Unknown };
        if let Some(tag) = &entry.tag {
            trees.put_tag(&tag_key(&entry.target, tag), &known)?;
        }
        if let Some(subject) = &entry.subject {
            trees.put_referrers(&link_key(&entry.target, subject), &known)?;
        }
        entries += 1;
    }
    if entries > 0 {
        tracing::debug!(target: "hubcap::store", "the index was filled up from {entries} entries of index.json");
    }
    Ok(())
}
