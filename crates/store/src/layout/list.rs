//! What is in a store, read from its layout alone: while a daemon has it open, or without any.

use std::collections::HashSet;
use std::path::Path;

use fs_err as fs;
use hubcap_oci::{Descriptor, Digest, Manifest, Platform, Tag, Target};

use crate::error::Error;
use crate::layout::Layout;

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

/// The images of the store at `root`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Damaged`] for an `index.json` that cannot be read; a missing store is empty.
pub fn images(root: &Path) -> Result<Vec<StoredImage>, Error> {
    let layout = Layout::at(root);
    let describe = |entry: crate::layout::Entry| {
        let mut walk = Walk { layout: &layout, seen: HashSet::new(), size: 0, platforms: Vec::new() };
        let complete = walk.visit(&entry.descriptor, None);
        let Walk { size, platforms, .. } = walk;
        StoredImage {
            target: entry.target,
            tag: entry.tag,
            descriptor: entry.descriptor,
            platforms,
            size,
            complete,
        }
    };
    let mut images: Vec<StoredImage> = layout.read_index()?.entries().map(describe).collect();
    images.sort_by(|a, b| (&a.target, &a.tag).cmp(&(&b.target, &b.tag)));
    Ok(images)
}

/// The bytes of all contents of the store at `root`.
pub fn total(root: &Path) -> u64 {
    let layout = Layout::at(root);
    layout.digests().filter_map(|(_, path)| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// The platforms that an image is made for, whether they are here or not, and the manifest of each.
pub fn offered(root: &Path, image: &StoredImage) -> Vec<(Platform, Digest)> {
    let layout = Layout::at(root);
    let walk = Walk { layout: &layout, seen: HashSet::new(), size: 0, platforms: Vec::new() };
    let Some(manifest) = walk.read(&image.descriptor) else { return Vec::new() };
    let links = manifest.links;
    if links.manifests.is_empty() {
        let own = links.blobs.first().and_then(|config| walk.platform_of(&config.digest));
        return own.into_iter().map(|platform| (platform, image.descriptor.digest)).collect();
    }
    // What describes the others, as attestations do, is for no platform that there is.
    let known = |platform: &Platform| platform.os != "unknown";
    let children = links.manifests.into_iter();
    children.filter_map(|child| Some((child.platform.filter(known)?, child.digest))).collect()
}

/// How many contents of the store at `root` were quarantined.
pub fn quarantined(root: &Path) -> usize {
    fs::read_dir(Layout::at(root).quarantine()).map_or(0, Iterator::count)
}

struct Walk<'a> {
    layout: &'a Layout,
    seen: HashSet<Digest>,
    size: u64,
    platforms: Vec<Platform>,
}

impl Walk<'_> {
    /// Counts what is here; true when the manifest and all its blobs are, or any manifest of an index is.
    fn visit(&mut self, descriptor: &Descriptor, platform: Option<&Platform>) -> bool {
        self.present(&descriptor.digest);
        let Some(manifest) = self.read(descriptor) else { return false };
        let mut any = false;
        for child in &manifest.links.manifests {
            any |= !self.seen.contains(&child.digest) && self.visit(child, child.platform.as_ref());
        }
        if !manifest.links.manifests.is_empty() {
            return any;
        }
        let mut all = true;
        for blob in &manifest.links.blobs {
            all &= self.present(&blob.digest).is_some();
        }
        if all {
            let own = || manifest.links.blobs.first().and_then(|config| self.platform_of(&config.digest));
            self.platforms.extend(platform.cloned().or_else(own));
        }
        all
    }

    fn read(&self, descriptor: &Descriptor) -> Option<Manifest> {
        let path = self.layout.blob(&descriptor.digest);
        let small = fs::metadata(&path).ok()?.len() <= Manifest::MAX_SIZE as u64;
        let bytes = small.then(|| fs::read(path).ok()).flatten()?;
        Manifest::parse(descriptor.digest, &bytes, Some(&descriptor.media_type)).ok()
    }

    /// The length of a content that is here; counted once.
    fn present(&mut self, digest: &Digest) -> Option<u64> {
        let size = fs::metadata(self.layout.blob(digest)).ok()?.len();
        if self.seen.insert(*digest) {
            self.size += size;
        }
        Some(size)
    }

    /// An image's configuration says its platform in the same words as a descriptor.
    fn platform_of(&self, config: &Digest) -> Option<Platform> {
        let path = self.layout.blob(config);
        let small = fs::metadata(&path).ok()?.len() <= Manifest::MAX_SIZE as u64;
        small.then(|| fs::read(path).ok()).flatten().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }
}
