//! Looks at what a store holds, for a plan of what goes: every content's length, and what each image needs.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hubcap_oci::{Digest, Link, Pattern, Target};

use super::plan::{Child, Image, Reason, Removal, Survey, Unneeded};
use crate::catalog::Catalog;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::layout::own;
use crate::permissions::Readers;

impl Survey {
    /// Bytes of all contents that are here, also of those in quarantine, and of the images' entries.
    pub(super) fn size(&self, entry: u64) -> u64 {
        let damaged: u64 = self.damaged.iter().map(|removal| removal.bytes).sum();
        self.sizes.values().sum::<u64>() + damaged + self.images.len() as u64 * entry
    }

    /// Reads the whole store. `pins` are images that stay; `kept` are contents that are being written. One that could not be removed
    /// a moment ago is kept, too.
    pub(super) fn of(
        catalog: &Catalog,
        images: &ImageIndex,
        pins: &[Pattern],
        mut kept: HashSet<Digest>,
    ) -> Self {
        let layout = &catalog.layout;
        let (mut sizes, mut private) = (HashMap::new(), Vec::new());
        for (digest, path) in layout.digests() {
            let Some(metadata) = own::metadata(&path) else { continue };
            sizes.insert(digest, metadata.len());
            if catalog.is_stuck(&path) {
                kept.insert(digest);
            }
            if Readers::of(metadata.permissions().mode()) != Readers::All {
                private.push(digest);
            }
        }
        private.sort_unstable();
        let reader = Reader { catalog, sizes: &sizes, pins, in_flight: &kept, now: SystemTime::now() };
        let (lists, entries): (Vec<Entry>, Vec<Entry>) =
            images.entries().partition(|entry| entry.subject.is_some());
        let mut images: Vec<Image> = entries.into_iter().map(|entry| reader.image(entry)).collect();
        let lists: Vec<Image> = {
            let holders = Holders::of(&images, &lists);
            lists.into_iter().map(|entry| reader.list(entry, &holders)).collect()
        };
        images.extend(lists);
        let children = images.iter().flat_map(|image| &image.children).flat_map(|child| &child.contents);
        let needed: HashSet<&Digest> = images.iter().flat_map(|image| &image.own).chain(children).collect();
        let unneeded = sizes.keys().filter(|digest| !needed.contains(digest));
        let unneeded = unneeded.map(|digest| reader.unneeded(*digest)).collect();
        let private = private.into_iter().map(|digest| reader.unneeded(digest)).collect();
        Self { images, unneeded, damaged: damaged(catalog), private, sizes }
    }
}

/// The images that have the subjects of lists of referrers.
struct Holders<'a>(HashMap<(&'a Target, Digest), Holder>);

#[derive(Debug, Clone, Copy)]
struct Holder {
    used: SystemTime,
    is_pinned: bool,
}

impl<'a> Holders<'a> {
    fn of(images: &'a [Image], lists: &[Entry]) -> Self {
        let subjects: HashSet<Digest> = lists.iter().filter_map(|list| list.subject).collect();
        let mut holders: HashMap<(&Target, Digest), Holder> = HashMap::new();
        for image in images {
            let children = image.children.iter().flat_map(|child| &child.contents);
            for digest in image.own.iter().chain(children).filter(|digest| subjects.contains(digest)) {
                let holder = holders
                    .entry((&image.entry.target, *digest))
                    .or_insert(Holder { used: UNIX_EPOCH, is_pinned: false });
                holder.used = holder.used.max(image.used);
                holder.is_pinned |= image.is_pinned;
            }
        }
        Self(holders)
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
        let mut own: Vec<Digest> = match &manifest {
            Some(manifest) => manifest.links.blobs().map(|blob| blob.digest).collect(),
            // It is damaged, or the disk fails: what its repository names may be its own.
            None => self.catalog.index.linked(&entry.target),
        };
        let links = manifest.map(|manifest| manifest.links).unwrap_or_default();
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
                // An attestation goes with what it attests, whether the client that used that asked for it or not.
                let manifests = graph.manifests().map(|one| one.digest).chain(child.refers_to);
                children.push(Child {
                    platform: platform.map_or_else(|| child.digest.to_string(), ToString::to_string),
                    contents: self.here(contents),
                    used: manifests.map(|digest| self.last_use(&digest)).max().unwrap_or(UNIX_EPOCH),
                });
            }
        }
        let used = children.iter().map(|child| child.used).fold(self.last_use(&top.digest), SystemTime::max);
        let is_pinned = self.pins.iter().any(|pin| pin.matches(&entry.target, entry.tag.as_ref()));
        let is_private = self.is_private(&entry);
        let own = self.here(own);
        Image { own, children, used, is_pinned, is_private, is_unneeded: false, in_flight, entry }
    }

    /// A list of referrers, with those of them that are here. It goes with the image that has its subject.
    fn list(&self, entry: Entry, holders: &Holders<'_>) -> Image {
        let graph = self.catalog.layout.graph(&Link::from(&entry.descriptor));
        let own: Vec<Digest> = graph.contents().map(|one| one.digest).collect();
        let asked = entry.subject.map_or(UNIX_EPOCH, |subject| self.last_use(&subject));
        let holder = entry.subject.and_then(|subject| holders.0.get(&(&entry.target, subject)).copied());
        Image {
            children: Vec::new(),
            used: holder.map_or(asked, |holder| holder.used.max(asked)),
            is_pinned: holder.is_some_and(|holder| holder.is_pinned),
            is_private: self.is_private(&entry),
            is_unneeded: holder.is_none(),
            in_flight: self.is_any_in_flight(&own),
            own: self.here(own),
            entry,
        }
    }

    fn is_private(&self, entry: &Entry) -> bool {
        let Catalog { index, layout, .. } = self.catalog;
        // An `index.json` may be older than the index, and lack the mark.
        entry.private
            || index.is_private(&entry.target)
            || layout.readers(&entry.descriptor.digest) != Readers::All
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
        let written = || own::metadata(&self.catalog.layout.blob(digest))?.modified().ok();
        let used = self.catalog.index.last_use(digest).or_else(written);
        used.filter(|used| *used <= self.now).unwrap_or(UNIX_EPOCH)
    }
}

fn damaged(catalog: &Catalog) -> Vec<Removal> {
    let removal = |entry: std::fs::DirEntry| {
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
    let entries = own::entries(&catalog.layout.quarantine());
    entries.filter(|entry| !catalog.is_stuck(&entry.path())).filter_map(removal).collect()
}
