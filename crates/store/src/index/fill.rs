//! Filling the index with what the layout says.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hubcap_oci::{Digest, Link};

use super::linkable;
use super::trees::{By, TagEntry, Trees, Word, link_key, tag_key};
use crate::layout::Layout;
use crate::layout::graph::Graph;
use crate::layout::image_index::ImageIndex;
use crate::permissions::Readers;
use crate::validation::Validation;

/// Whether the index has what `images` says itself, marks of private repositories before all.
pub(super) fn has_all(trees: &Trees, images: &ImageIndex) -> sled::Result<bool> {
    for entry in images.entries() {
        let digest = entry.descriptor.digest;
        let means_it = |known: TagEntry| known.descriptor.digest == digest;
        let is_known = match (&entry.tag, &entry.subject) {
            (_, Some(subject)) => trees.referrers(&link_key(&entry.target, subject))?.is_some_and(means_it),
            (Some(tag), None) => trees.tag(&tag_key(&entry.target, tag))?.is_some_and(means_it),
            (None, None) => trees.is_linked(&link_key(&entry.target, &digest))?,
        };
        if !is_known || (entry.private && !trees.is_private(&entry.target)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where it is known which repository has what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// In the index, where it was noted when it came: a name gives nothing.
    Index,
    /// Nowhere else than in the layout, as far as that tells it.
    Layout,
}

/// Adds everything that is reachable from `images`. When a tag was last validated is not in the layout, so every tag will be
/// checked at its next use.
pub(super) fn fill(trees: &Trees, layout: &Layout, images: &ImageIndex, owners: Owners) -> sled::Result<()> {
    // First, so that nothing of a private repository is found in it before its mark.
    for entry in images.entries().filter(|entry| entry.private) {
        trees.mark(&entry.target, true)?;
    }
    let mut counts: HashMap<Digest, usize> = HashMap::new();
    for entry in images.entries() {
        *counts.entry(entry.descriptor.digest).or_default() += 1;
    }
    // What several names stand for is read once.
    let mut shared: HashMap<Digest, Rc<Graph>> = HashMap::new();
    let mut entries = 0;
    for entry in images.entries() {
        let digest = entry.descriptor.digest;
        let read = || Rc::new(layout.graph(&Link::from(&entry.descriptor)));
        let graph = match counts.get(&digest) {
            Some(2..) => Rc::clone(shared.entry(digest).or_insert_with(read)),
            _ => read(),
        };
        // What is not here the registry has not given, whatever the entry says. Of what is here and not for everybody, the
        // entry's own manifest is the repository's if that is private, and all of what was imported together.
        let is_imported = layout.readers(&digest) == Readers::Local;
        let by = if is_imported { By::Import } else { By::Registry };
        let is_given = |one: &Digest| match layout.readers(one) {
            // Of others it is enough that they are named; a parent's word does not decide what a manifest is.
            Readers::All => *one == digest,
            Readers::Local => is_imported,
            Readers::Granted => *one == digest && entry.private && layout.size_of(one).is_some(),
        };
        // A list of referrers is nobody's manifest: hubcap has written it.
        let is_own = |link: &&Link| entry.subject.is_none() || link.digest != entry.descriptor.digest;
        for manifest in graph.manifests().filter(is_own) {
            if owners == Owners::Layout && is_given(&manifest.digest) {
                // What the registry has said here counts before what names it.
                let known = trees.owned(&link_key(&entry.target, &manifest.digest))?;
                let known = known.and_then(|known| known.media_type);
                let media_type = known.as_deref().unwrap_or(&manifest.media_type);
                trees.own(&entry.target, &manifest.digest, Some(media_type), by, Word::Layout)?;
            }
        }
        if owners == Owners::Layout && is_imported {
            for blob in graph.contents().filter(|one| layout.readers(&one.digest) == Readers::Local) {
                trees.own(&entry.target, &blob.digest, None, by, Word::Layout)?;
            }
        }
        for (node, links) in graph.nodes().iter().filter_map(|node| Some((node, node.links.as_ref()?))) {
            let named: Vec<Digest> = links.contents().map(|link| link.digest).collect();
            trees.link(&entry.target, linkable(&entry.target, &named), Word::Layout)?;
            if is_own(&&node.link) {
                trees.link(&entry.target, &[node.link.digest], Word::Layout)?;
            }
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
