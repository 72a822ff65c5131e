//! Looks at what a store holds, for a plan of what goes: every content's length, and what each image needs.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use hubcap_oci::{Digest, Link, Pattern};

use super::plan::{Child, Image, Reason, Removal, Survey, Unneeded};
use crate::catalog::Catalog;
use crate::layout::Layout;
use crate::layout::image_index::{Entry, ImageIndex};

impl Survey {
    /// Reads the whole store. `pins` are images that stay; `in_flight` are contents that are being written.
    pub(super) fn of(
        catalog: &Catalog,
        images: &ImageIndex,
        pins: &[Pattern],
        in_flight: &HashSet<Digest>,
    ) -> Self {
        let layout = &catalog.layout;
        let sizes: HashMap<Digest, u64> =
            layout.digests().filter_map(|(digest, _)| Some((digest, layout.size_of(&digest)?))).collect();
        let reader = Reader { catalog, sizes: &sizes, pins, in_flight, now: SystemTime::now() };
        let images: Vec<Image> = images.entries().map(|entry| reader.image(entry)).collect();
        let children = images.iter().flat_map(|image| &image.children).flat_map(|child| &child.contents);
        let needed: HashSet<&Digest> = images.iter().flat_map(|image| &image.own).chain(children).collect();
        let unneeded = sizes.keys().filter(|digest| !needed.contains(digest));
        let unneeded = unneeded.map(|digest| reader.unneeded(*digest)).collect();
        Self { images, unneeded, damaged: damaged(layout), sizes }
    }
}

struct Reader<'a> {
    catalog: &'a Catalog,
    sizes: &'a HashMap<Digest, u64>,
    pins: &'a [Pattern],
    in_flight: &'a HashSet<Digest>,
    now: SystemTime,
}

impl Reader<'_> {
    fn image(&self, entry: Entry) -> Image {
        let top = &entry.descriptor;
        let manifest = self.catalog.layout.manifest(&Link::from(top));
        let links = manifest.map(|manifest| manifest.links).unwrap_or_default();
        let mut own: Vec<Digest> = links.blobs().map(|blob| blob.digest).collect();
        own.push(top.digest);
        own.extend(entry.wrapper);
        let mut in_flight = self.is_any_in_flight(&own);
        let mut children = Vec::new();
        for child in &links.manifests {
            let graph = self.catalog.layout.graph(child);
            let contents: Vec<Digest> = graph.contents().map(|one| one.digest).collect();
            in_flight |= self.is_any_in_flight(&contents);
            if self.sizes.contains_key(&child.digest) {
                let platform = child.platform.as_ref();
                children.push(Child {
                    platform: platform.map_or_else(|| child.digest.to_string(), ToString::to_string),
                    contents: self.here(contents),
                    used: graph.manifests().map(|one| self.last_use(&one.digest)).max().unwrap_or(UNIX_EPOCH),
                });
            }
        }
        let used = children.iter().map(|child| child.used).fold(self.last_use(&top.digest), SystemTime::max);
        let is_pinned = self.pins.iter().any(|pin| pin.matches(&entry.target, entry.tag.as_ref()));
        Image { own: self.here(own), children, used, is_pinned, in_flight, entry }
    }

    fn unneeded(&self, digest: Digest) -> Unneeded {
        Unneeded { digest, used: self.last_use(&digest), in_flight: self.in_flight.contains(&digest) }
    }

    fn is_any_in_flight(&self, contents: &[Digest]) -> bool {
        contents.iter().any(|digest| self.in_flight.contains(digest))
    }

    /// Those that are here, each once.
    fn here(&self, mut contents: Vec<Digest>) -> Vec<Digest> {
        contents.retain(|digest| self.sizes.contains_key(digest));
        contents.sort_unstable();
        contents.dedup();
        contents
    }

    /// From the index; where that was lost, when the file was written, which archives keep. The epoch for what is not here, and
    /// for a time of the future: a forged one would keep its content for ever.
    fn last_use(&self, digest: &Digest) -> SystemTime {
        let written = || std::fs::metadata(self.catalog.layout.blob(digest)).ok()?.modified().ok();
        let used = self.catalog.index.last_use(digest).or_else(written);
        used.filter(|used| *used <= self.now).unwrap_or(UNIX_EPOCH)
    }
}

fn damaged(layout: &Layout) -> Vec<Removal> {
    let entries = fs::read_dir(layout.quarantine()).into_iter().flatten().flatten();
    let removal = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        Some(Removal {
            name: entry.file_name().into_string().ok()?,
            bytes: metadata.len(),
            used: metadata.modified().ok()?,
            reason: Reason::Damaged,
            entry: None,
            contents: Vec::new(),
        })
    };
    entries.filter_map(removal).collect()
}
