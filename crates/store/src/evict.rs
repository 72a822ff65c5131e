//! What goes when room is needed: the least recently used first, and whole images before the contents that others
//! share with them.

mod prune;

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use fs_err as fs;
use hubcap_oci::Digest;

use crate::error::Error;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::store::Store;

pub use prune::Prune;

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was damaged, and quarantined.
    Damaged,
    /// No image that is here needs it.
    Unneeded,
    /// Nothing else was unused for longer.
    LeastRecentlyUsed,
    /// It is private, and was asked to go.
    Private,
    /// Nothing of it was used since the time that was given.
    NotUsed,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged, set aside",
            Self::Unneeded => "no image here needs it",
            Self::LeastRecentlyUsed => "least recently used",
            Self::Private => "private",
            Self::NotUsed => "not used in this run",
        })
    }
}

/// Something that goes as a whole: an image with what only it needs, or a single content.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The image's whole name, or the content's digest.
    pub name: String,
    /// Bytes that this frees.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// Why it goes.
    pub reason: Reason,
    entry: Option<Entry>,
    contents: Vec<Digest>,
}

/// What to make room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// At least so many bytes.
    Bytes(u64),
    /// Whatever is over the limits, and what nothing needs.
    Limits,
    /// Everything private.
    Private,
}

/// One thing that can go: an entry of `index.json`, or a content that no entry reaches.
struct Unit {
    entry: Option<Entry>,
    /// What of it is here.
    contents: Vec<Digest>,
    used: SystemTime,
    /// Whether something of it is being written.
    in_flight: bool,
}

impl Store {
    /// What would be removed, in that order, and why. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Io`] when the store cannot be read.
    pub fn plan(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        let images = lock(&self.0.images);
        self.plan_for(&images, wanted)
    }

    /// Removes what [`plan`](Self::plan) says, and returns it.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written; nothing is removed then.
    pub fn collect(&self, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        // Held to the end: an image that comes meanwhile would count on contents that go.
        let mut images = lock(&self.0.images);
        let removals = self.plan_for(&images, wanted)?;
        self.remove(&mut images, &removals)?;
        Ok(removals)
    }

    /// Frees at least `bytes`, and returns how many; where that is not possible, nothing goes in vain.
    pub(crate) fn evict(&self, bytes: u64) -> Result<u64, Error> {
        let mut images = lock(&self.0.images);
        let removals = self.plan_for(&images, Wanted::Bytes(bytes))?;
        if removals.iter().map(|removal| removal.bytes).sum::<u64>() < bytes {
            return Ok(0);
        }
        self.remove(&mut images, &removals)?;
        drop(images);
        for removal in &removals {
            let Removal { name, bytes, reason, .. } = removal;
            tracing::info!(target: "hubcap::gc", bytes, "removed {name}: {reason}");
        }
        Ok(removals.iter().map(|removal| removal.bytes).sum())
    }

    fn plan_for(&self, images: &ImageIndex, wanted: Wanted) -> Result<Vec<Removal>, Error> {
        let target = match wanted {
            Wanted::Bytes(bytes) => bytes,
            Wanted::Limits => self.excess()?,
            Wanted::Private => 0,
        };
        let sizes = self.sizes();
        let mut units = self.units(images, &sizes);
        // How many units need a content: it is freed with the last of them.
        let mut needed: HashMap<Digest, u32> = HashMap::new();
        for digest in units.iter().flat_map(|unit| &unit.contents) {
            *needed.entry(*digest).or_default() += 1;
        }
        // What nothing needs goes anyway when the limits are looked at, so it counts before any image has to go.
        units.sort_by_key(|unit| (wanted == Wanted::Limits && unit.entry.is_some(), unit.used));

        let mut removals = self.damaged();
        let mut freed: u64 = removals.iter().map(|removal| removal.bytes).sum();
        for unit in units {
            let private = unit.entry.as_ref().is_some_and(|entry| entry.private);
            let reason = match (wanted, &unit.entry) {
                (Wanted::Private, _) if !private => continue,
                (Wanted::Private, _) => Reason::Private,
                (Wanted::Limits, None) => Reason::Unneeded,
                _ if freed >= target => continue,
                (_, None) => Reason::Unneeded,
                (_, Some(_)) => Reason::LeastRecentlyUsed,
            };
            let pinned =
                wanted != Wanted::Private && unit.entry.as_ref().is_some_and(|one| self.is_pinned(one));
            if unit.in_flight || pinned {
                continue;
            }
            let mut contents = Vec::new();
            let mut bytes = 0;
            for digest in unit.contents {
                let count = needed.entry(digest).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    bytes += sizes.get(&digest).copied().unwrap_or(0);
                    contents.push(digest);
                }
            }
            freed += bytes;
            let name = unit.entry.as_ref().map(Entry::name);
            let name = name.or_else(|| contents.first().map(ToString::to_string)).unwrap_or_default();
            removals.push(Removal { name, bytes, used: unit.used, reason, entry: unit.entry, contents });
        }
        Ok(removals)
    }

    /// Entries first: a kill in between leaves contents that nothing needs, not an image without its contents.
    fn remove(&self, images: &mut ImageIndex, removals: &[Removal]) -> Result<(), Error> {
        let entries: Vec<&Entry> = removals.iter().filter_map(|removal| removal.entry.as_ref()).collect();
        if !entries.is_empty() {
            let mut left = images.clone();
            left.remove(&entries);
            self.0.layout.write_index(&left)?;
            *images = left;
        }
        for removal in removals {
            if removal.reason == Reason::Damaged {
                self.discard(&self.0.layout.quarantine().join(&removal.name));
            }
            for digest in &removal.contents {
                self.0.verified.forget(digest);
                lock(&self.0.recent).forget(digest);
                self.discard(&self.0.layout.blob(digest));
            }
            self.0.index.forget(removal.entry.as_ref(), &removal.contents);
        }
        Ok(())
    }

    /// Removes a file. Who has it open reads on.
    pub(crate) fn discard(&self, path: &std::path::Path) {
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(path) {
            Ok(()) => self.shrunk_by(size),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(target: "hubcap::gc", "{error}"),
        }
    }

    /// Every content that is here, and its length in bytes.
    fn sizes(&self) -> HashMap<Digest, u64> {
        let found = self.0.layout.digests();
        found.filter_map(|(digest, path)| Some((digest, fs::metadata(path).ok()?.len()))).collect()
    }

    fn units(&self, images: &ImageIndex, sizes: &HashMap<Digest, u64>) -> Vec<Unit> {
        let in_flight: HashSet<Digest> = lock(&self.0.in_flight).keys().copied().collect();
        let mut reached = HashSet::new();
        let mut units = Vec::new();
        for entry in images.entries() {
            let graph = self.0.layout.graph(&entry.descriptor);
            let used = graph.manifests().filter_map(|one| self.last_use(&one.digest)).max();
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            let contents = graph.contents().map(|one| one.digest);
            let mut contents: Vec<Digest> = contents.chain(entry.wrapper).collect();
            let in_flight = contents.iter().any(|digest| in_flight.contains(digest));
            contents.retain(|digest| sizes.contains_key(digest));
            contents.sort_unstable();
            contents.dedup();
            reached.extend(contents.iter().copied());
            units.push(Unit { entry: Some(entry), contents, used, in_flight });
        }
        for digest in sizes.keys().filter(|digest| !reached.contains(*digest)) {
            let used = self.last_use(digest).unwrap_or(SystemTime::UNIX_EPOCH);
            let in_flight = in_flight.contains(digest);
            units.push(Unit { entry: None, contents: vec![*digest], used, in_flight });
        }
        units
    }

    /// From the index; where that was lost, when the file was written, which archives keep.
    fn last_use(&self, digest: &Digest) -> Option<SystemTime> {
        self.0
            .index
            .last_use(digest)
            .or_else(|| fs::metadata(self.0.layout.blob(digest)).ok()?.modified().ok())
    }

    fn damaged(&self) -> Vec<Removal> {
        let entries = fs::read_dir(self.0.layout.quarantine()).into_iter().flatten().flatten();
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

    fn is_pinned(&self, entry: &Entry) -> bool {
        self.0.pins.iter().any(|pin| pin.matches(&entry.target, entry.tag.as_ref()))
    }
}
