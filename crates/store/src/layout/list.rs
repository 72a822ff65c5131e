//! What is in a store.

use std::collections::HashSet;

use hubcap_oci::{Descriptor, Digest, Link, Platform, Tag, Target};

use super::Layout;
use super::graph::Node;
use super::image_index::Entry;
use super::own;
use crate::error::Error;

/// An image, or a manifest that was pulled by digest.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Its repository.
    pub target: Target,
    /// Its tag; `None` for what was pulled by digest, or lost its tag to a newer one.
    pub tag: Option<Tag>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The platforms whose contents are all here; empty for an image that does not say its platform.
    pub platforms: Vec<Platform>,
    /// Bytes of its contents that are here; what images share is counted for each.
    pub size: u64,
    /// Whether at least one platform is here as a whole.
    pub complete: bool,
}

impl Layout {
    /// The images of the store, sorted by repository and tag.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`] for an `index.json` that cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, Error> {
        let mut images: Vec<StoredImage> = self
            .read_index()?
            .entries()
            .filter(|entry| entry.subject.is_none())
            .map(|entry| self.describe(entry))
            .collect();
        images.sort_by(|a, b| (&a.target, &a.tag).cmp(&(&b.target, &b.tag)));
        Ok(images)
    }

    /// The names of the registries of which there is an image.
    ///
    /// # Errors
    /// As [`images`](Self::images).
    pub fn registries(&self) -> Result<HashSet<String>, Error> {
        Ok(self.read_index()?.entries().map(|entry| entry.target.registry.to_string()).collect())
    }

    fn describe(&self, entry: Entry) -> StoredImage {
        let graph = self.graph(&Link::from(&entry.descriptor));
        let mut seen = HashSet::new();
        let contents = graph.contents().filter(|content| seen.insert(content.digest));
        let size = contents.filter_map(|content| self.size_of(&content.digest)).sum();
        let (mut complete, mut platforms) = (false, Vec::new());
        for node in graph.nodes() {
            // An index has a platform as a whole when one of its manifests has. An attestation is for none.
            let Some(links) = node.links.as_ref().filter(|links| links.manifests.is_empty()) else {
                continue;
            };
            if node.link.refers_to.is_some() {
                continue;
            }
            // What the registry need not have is the client's own business.
            if links.blobs().all(|blob| blob.is_foreign() || self.size_of(&blob.digest).is_some()) {
                complete = true;
                platforms.extend(self.platform_of_node(node));
            }
        }
        let Entry { target, tag, descriptor, .. } = entry;
        StoredImage { target, tag, descriptor, platforms, size, complete }
    }

    /// The platforms that an image is made for, whether they are here or not, and the manifest of each.
    pub fn offered(&self, image: &StoredImage) -> Vec<(Platform, Digest)> {
        let graph = self.graph(&Link::from(&image.descriptor));
        let is_index = |node: &&Node| node.links.as_ref().is_some_and(|links| !links.manifests.is_empty());
        let manifests = graph.nodes().iter().filter(|node| !is_index(node) && node.link.refers_to.is_none());
        let offered = manifests.filter_map(|node| Some((self.platform_of_node(node)?, node.link.digest)));
        // Tools of old wrote attestations without saying what they attest.
        offered.filter(|(platform, _)| platform.os != "unknown").collect()
    }

    /// As its index says, else as its configuration does.
    fn platform_of_node(&self, node: &Node) -> Option<Platform> {
        let own = || self.platform_of(node.links.as_ref()?.config.as_ref()?);
        node.link.platform.clone().or_else(own)
    }

    /// The platform that a configuration says.
    pub(crate) fn platform_of(&self, config: &Link) -> Option<Platform> {
        Platform::of_config(&self.small(&config.digest).ok()??)
    }

    /// The bytes of all contents.
    pub fn total(&self) -> u64 {
        self.digests().filter_map(|(digest, _)| self.size_of(&digest)).sum()
    }

    /// How many contents are in quarantine, because they turned out damaged.
    pub fn quarantined_count(&self) -> usize {
        own::entries(&self.quarantine()).count()
    }
}
