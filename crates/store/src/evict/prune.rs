//! What is kept of a store that is carried on: what was used, for the platforms it was used for, and nothing private.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use fs_err as fs;
use hubcap_oci::{Descriptor, Digest};

use super::{Reason, Removal};
use crate::error::Error;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::store::Store;

/// What to keep. What no image needs, and what was quarantined, goes in any case; so does, last of all, what
/// is over [`Limits::max_size`](crate::Limits), the least recently used first. Pinned images stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prune {
    /// Only what was used since then.
    ///
    /// A manifest that was asked for keeps all that it needs, whether that was asked for or not. An index keeps those of
    /// its manifests that were asked for; when none was (a client that had it all asks for no more than the tag), it
    /// keeps what is here.
    pub used_since: Option<SystemTime>,
    /// Also what registries give only to a login.
    pub keep_private: bool,
}

/// An image, or a manifest that was pulled by digest.
struct Image {
    entry: Entry,
    /// What of it is here, without the contents of an index's manifests.
    own: Vec<Digest>,
    children: Vec<Child>,
    /// The last use of any of its manifests.
    used: SystemTime,
}

/// One manifest of an index that is here, with what it needs.
struct Child {
    platform: String,
    contents: Vec<Digest>,
    used: SystemTime,
}

impl Store {
    /// What [`trim`](Self::trim) would remove, and why. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Io`] when the store cannot be read.
    pub fn plan_trim(&self, trim: Prune) -> Result<Vec<Removal>, Error> {
        let images = lock(&self.0.images);
        self.trim_for(&images, trim)
    }

    /// Removes all but what `trim` keeps, and returns what went.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written; nothing is removed then.
    pub fn trim(&self, trim: Prune) -> Result<Vec<Removal>, Error> {
        let mut images = lock(&self.0.images);
        let removals = self.trim_for(&images, trim)?;
        self.remove(&mut images, &removals)?;
        // A corrupt index that was set aside for a look is not worth carrying either.
        let _ = fs::remove_dir_all(self.0.layout.corrupt_sled());
        Ok(removals)
    }

    fn trim_for(&self, images: &ImageIndex, trim: Prune) -> Result<Vec<Removal>, Error> {
        let sizes = self.sizes();
        let mut rest: Vec<Image> = images.entries().map(|entry| self.image(entry, &sizes)).collect();
        rest.sort_by_key(|image| image.used);
        let mut needs = Needs::count(&rest, &sizes);
        let mut removals = self.damaged();
        let mut unneeded: Vec<&Digest> = sizes.keys().filter(|digest| !needs.any(digest)).collect();
        unneeded.sort_unstable();
        for digest in unneeded {
            let used = self.last_use(digest).unwrap_or(SystemTime::UNIX_EPOCH);
            removals.push(Removal {
                name: digest.to_string(),
                bytes: sizes.get(digest).copied().unwrap_or(0),
                used,
                reason: Reason::Unneeded,
                entry: None,
                contents: vec![*digest],
            });
        }

        let mut kept = Vec::new();
        for image in rest {
            match self.verdict(&image, trim) {
                Some(reason) => removals.push(needs.release(image, reason)),
                None => kept.push(image),
            }
        }
        if let Some(since) = trim.used_since {
            for image in kept.iter_mut().filter(|image| !self.is_pinned(&image.entry)) {
                if image.children.iter().any(|child| child.used >= since) {
                    for child in image.children.extract_if(.., |child| child.used < since) {
                        removals.push(needs.release_child(&image.entry, child));
                    }
                }
            }
        }
        let target = self.excess()?;
        let mut freed: u64 = removals.iter().map(|removal| removal.bytes).sum();
        for image in kept {
            if freed >= target {
                break;
            }
            if !self.is_pinned(&image.entry) {
                let removal = needs.release(image, Reason::LeastRecentlyUsed);
                freed += removal.bytes;
                removals.push(removal);
            }
        }
        Ok(removals)
    }

    /// Why an image goes as a whole; `None` when it stays.
    fn verdict(&self, image: &Image, trim: Prune) -> Option<Reason> {
        if image.entry.private && !trim.keep_private {
            return Some(Reason::Private);
        }
        let unused = trim.used_since.is_some_and(|since| image.used < since);
        (unused && !self.is_pinned(&image.entry)).then_some(Reason::NotUsed)
    }

    /// The names of the images of which something was used since then, as [`Prune::used_since`] counts that.
    pub fn used_since(&self, since: SystemTime) -> HashSet<String> {
        let (images, sizes) = (lock(&self.0.images), self.sizes());
        let images = images.entries().map(|entry| self.image(entry, &sizes));
        images.filter(|image| image.used >= since).map(|image| image.entry.name()).collect()
    }

    fn image(&self, entry: Entry, sizes: &HashMap<Digest, u64>) -> Image {
        let layout = &self.0.layout;
        let top = &entry.descriptor;
        let links = layout.manifest(top).map(|manifest| manifest.links).unwrap_or_default();
        let children = links.manifests;
        let mut own: Vec<Digest> = links.blobs.iter().map(|blob| blob.digest).collect();
        own.push(top.digest);
        own.extend(entry.wrapper);
        present(&mut own, sizes);
        let here = children.iter().filter(|child| sizes.contains_key(&child.digest));
        let children: Vec<Child> = here.map(|child| self.child(child, sizes)).collect();
        let used = children.iter().map(|child| child.used).max().max(self.last_use(&top.digest));
        Image { entry, own, children, used: used.unwrap_or(SystemTime::UNIX_EPOCH) }
    }

    fn child(&self, child: &Descriptor, sizes: &HashMap<Digest, u64>) -> Child {
        let graph = self.0.layout.graph(child);
        let used = graph.manifests().filter_map(|manifest| self.last_use(&manifest.digest)).max();
        let mut contents: Vec<Digest> = graph.contents().map(|one| one.digest).collect();
        present(&mut contents, sizes);
        Child {
            platform: child.platform.as_ref().map_or_else(|| child.digest.to_string(), ToString::to_string),
            contents,
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// Leaves what is here, once.
fn present(contents: &mut Vec<Digest>, sizes: &HashMap<Digest, u64>) {
    contents.retain(|digest| sizes.contains_key(digest));
    contents.sort_unstable();
    contents.dedup();
}

/// How many images and manifests need a content: it goes with the last of them.
struct Needs<'a> {
    counts: HashMap<Digest, u32>,
    sizes: &'a HashMap<Digest, u64>,
}

impl<'a> Needs<'a> {
    fn count(images: &[Image], sizes: &'a HashMap<Digest, u64>) -> Self {
        let mut counts = HashMap::new();
        for image in images {
            let children = image.children.iter().flat_map(|child| &child.contents);
            for digest in image.own.iter().chain(children) {
                *counts.entry(*digest).or_default() += 1;
            }
        }
        Self { counts, sizes }
    }

    fn any(&self, digest: &Digest) -> bool {
        self.counts.contains_key(digest)
    }

    fn release(&mut self, image: Image, reason: Reason) -> Removal {
        let Image { entry, own, children, used } = image;
        let contents = own.into_iter().chain(children.into_iter().flat_map(|child| child.contents));
        let (contents, bytes) = self.freed(contents);
        Removal { name: entry.name(), bytes, used, reason, entry: Some(entry), contents }
    }

    fn release_child(&mut self, entry: &Entry, child: Child) -> Removal {
        let (contents, bytes) = self.freed(child.contents.into_iter());
        let name = format!("{} ({})", entry.name(), child.platform);
        Removal { name, bytes, used: child.used, reason: Reason::NotUsed, entry: None, contents }
    }

    fn freed(&mut self, contents: impl Iterator<Item = Digest>) -> (Vec<Digest>, u64) {
        let mut freed = (Vec::new(), 0);
        for digest in contents {
            let count = self.counts.entry(digest).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                freed.0.push(digest);
                freed.1 += self.sizes.get(&digest).copied().unwrap_or(0);
            }
        }
        freed
    }
}
