//! sled, kept at a distance: it may silently drop what a kill has left corrupt, and panics on some corrupt files where an
//! error would do. Whatever goes wrong with it, its files are moved away and the index is filled from the layout again; while
//! the disk takes no new one, it is kept in memory.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fs_err as fs;
use hubcap_oci::{Algorithm, Digest, Target, Verifier};

use super::fill::{Owners, fill, has_all};
use super::trees::{By, Trees};
use crate::archive::are_modes_lost;
use crate::hash::hash_range;
use crate::layout::image_index::ImageIndex;
use crate::layout::{Layout, SMALL as SMALL_FILE, own};
use crate::permissions::Readers;

/// Files of the index may have so many bytes, and so many times what they hold: when they were just written, sled's have three
/// times as many; of few links with long names ten times.
const SMALL: u64 = 4 << 20;
const MOST: u64 = 8;
/// That is looked at again when they are so many times as large as at the last look.
const GROWN: u64 = 2;

/// The index of a store.
#[derive(Debug)]
pub(super) struct Db {
    layout: Layout,
    /// Whether it belongs to the store; else it is gone with the process.
    is_kept: AtomicBool,
    open: RwLock<Open>,
    /// How large its files were when it was last found out whether they are too large.
    seen: AtomicU64,
}

#[derive(Debug)]
struct Open {
    /// `None` when it is closed, or being rebuilt.
    trees: Option<Trees>,
    /// How many times it was opened: who fails rebuilds only what he failed with.
    generation: u64,
}

impl Open {
    /// Closes sled, whatever it says to that.
    fn shut(&mut self) {
        let _ = contained(|| {
            drop(self.trees.take());
            Ok(())
        });
    }
}

impl Db {
    /// Opens the index, and fills it from the layout where it is missing, corrupt or was not closed cleanly, or lacks something that
    /// `index.json` says: its files may have been damaged before they were closed. The flag is true where that was not needed.
    pub(super) fn open(layout: &Layout, images: &ImageIndex) -> (Self, bool) {
        // What sled finds corrupt it may also silently drop, so it is trusted only when its files are those of the last
        // clean shutdown.
        let clean = checksum(layout)
            .is_some_and(|now| own::read(&layout.clean_checksum(), SMALL_FILE).ok() == Some(now));
        let _ = own::remove(&layout.clean_checksum());
        let _ = own::remove(&layout.new_sled());
        if !own::is_all(&layout.sled()) {
            let _ = own::remove(&layout.sled());
        }
        let opened = contained(|| Trees::open(&layout.sled())).or_else(|_| {
            // Corrupt snapshots are what a kill leaves; without them sled reads its log, which has it all.
            for entry in own::entries(&layout.sled()) {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    let _ = fs::remove_file(entry.path());
                }
            }
            contained(|| Trees::open(&layout.sled()))
        });
        let filled = opened.and_then(|trees| {
            let is_whole = contained(|| {
                trees.keep_owned(&here(layout))?;
                let is_whole = clean && has_all(&trees, images)?;
                if !is_whole {
                    refill(&trees, layout, images)?;
                }
                Ok(is_whole)
            })?;
            Ok((trees, is_whole))
        });
        match filled {
            Ok((trees, is_whole)) => (Self::new(layout, true, trees), is_whole),
            Err(why) => (Self::new(layout, true, rebuilt(layout, &why, images)), false),
        }
    }

    /// One for a store that cannot be written: in memory, and gone with the process.
    pub(super) fn temporary(layout: &Layout, images: &ImageIndex) -> Self {
        Self::new(layout, false, in_memory(layout, images))
    }

    fn new(layout: &Layout, is_kept: bool, trees: Trees) -> Self {
        let open = RwLock::new(Open { trees: Some(trees), generation: 0 });
        Self { layout: layout.clone(), is_kept: is_kept.into(), open, seen: AtomicU64::default() }
    }

    /// Runs `work`; when sled fails or panics, rebuilds the index and runs it again, at last on an index in memory. `None` when
    /// the index is closed or another thread rebuilds it.
    pub(super) fn with<T>(&self, work: impl Fn(&Trees) -> sled::Result<T>) -> Option<T> {
        for is_first in [true, false, false] {
            // Under the lock, so that a close waits for it: sled writes a snapshot when its last handle goes, and a
            // process that ends in the midst of that leaves it corrupt.
            let (done, generation) = {
                let open = self.read();
                let trees = open.trees.as_ref()?;
                (contained(|| work(trees)), open.generation)
            };
            match done {
                Ok(value) => return Some(value),
                Err(why) => self.replace(generation, |images| {
                    if is_first {
                        return rebuilt(&self.layout, &why, images);
                    }
                    instead_of(&why, &self.layout, images)
                }),
            }
        }
        None
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds what `images` names.
    pub(super) fn add(&self, images: &ImageIndex, owners: Owners) {
        self.with(|trees| fill(trees, &self.layout, images, owners));
    }

    fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// Closes sled for a store that was removed, or could not be written, and opens what is at its place now.
    pub(super) fn reopen(&self, images: &ImageIndex) {
        self.is_kept.store(true, Ordering::Relaxed);
        self.write().shut();
        let opened = on_disk(&self.layout, images);
        self.publish(opened.unwrap_or_else(|why| instead_of(&why, &self.layout, images)));
    }

    /// Writes an index that is in memory to the disk again, where that takes it by now.
    pub(super) fn heal(&self) {
        let is_in_memory = |open: &Open| open.trees.as_ref().is_some_and(Trees::is_in_memory);
        if !self.is_kept() || !is_in_memory(&self.read()) {
            return;
        }
        // Held to the end, so that nothing is changed in memory alone meanwhile.
        let mut open = self.write();
        let Some(in_memory) = open.trees.as_ref().filter(|trees| trees.is_in_memory()) else { return };
        let path = self.layout.sled();
        let _ = own::remove(&path);
        let healed = contained(|| {
            let trees = Trees::open(&path)?;
            trees.copy(in_memory)?;
            Ok(trees)
        });
        match healed {
            Ok(trees) => {
                *open = Open { trees: Some(trees), generation: open.generation + 1 };
                tracing::info!(target: "hubcap::store", "the disk takes the index again");
            }
            Err(why) => tracing::debug!(target: "hubcap::store", "the index stays in memory: {why}"),
        }
    }

    /// Looks whether the files have grown since the last time, and writes them anew where they are much larger than what they
    /// hold.
    pub(super) fn compact_if_grown(&self) {
        if self.layout.size_of_sled() > GROWN * self.seen.load(Ordering::Relaxed) {
            self.compact();
        }
    }

    /// Writes the index anew where its files are much larger than what they hold: sled does not make them smaller.
    pub(super) fn compact(&self) {
        let size = self.layout.size_of_sled();
        self.seen.store(size, Ordering::Relaxed);
        if !self.is_kept()
            || size <= SMALL
            || self.with(Trees::bytes).is_none_or(|held| size <= SMALL + MOST * held)
        {
            return;
        }
        // Held to the end, so that nothing is changed meanwhile that would not be copied.
        let mut open = self.write();
        let Some(trees) = open.trees.as_ref().filter(|trees| !trees.is_in_memory()) else { return };
        let (path, new) = (self.layout.sled(), self.layout.new_sled());
        let copied = contained(|| {
            own::remove(&new)?;
            Trees::open(&new)?.copy(trees)
        });
        if let Err(why) = copied {
            let _ = own::remove(&new);
            tracing::debug!(target: "hubcap::store", "the index is not compacted: {why}");
            return;
        }
        open.shut();
        // What a kill leaves in between is filled from the layout.
        let opened = contained(|| {
            own::remove(&path)?;
            fs::rename(&new, &path)?;
            Trees::open(&path)
        });
        let trees = opened.unwrap_or_else(|why| {
            let images = self.layout.read_index().unwrap_or_default();
            rebuilt(&self.layout, &why, &images)
        });
        *open = Open { trees: Some(trees), generation: open.generation + 1 };
        let now = self.layout.size_of_sled();
        self.seen.store(now, Ordering::Relaxed);
        tracing::info!(target: "hubcap::store", "the index is compacted from {size} to {now} bytes");
    }

    /// Forgets the repositories that are private, so that no file of the index names one. sled's files are made anew: it keeps
    /// what was removed for a while. Fails where a file that may name one cannot be removed.
    pub(super) fn forget_private(&self) -> std::io::Result<()> {
        if !self.is_kept() {
            return Ok(());
        }
        // One that a kill left half written, and one that was corrupt and kept for a look.
        own::remove(&self.layout.new_sled())?;
        own::remove(&self.layout.corrupt_sled())?;
        if self.with(Trees::has_private) == Some(false) {
            return Ok(());
        }
        let mut open = self.write();
        let Some(trees) = &open.trees else { return Ok(()) };
        let public = Trees::in_memory();
        if let Err(why) = contained(|| public.copy_public(trees)) {
            tracing::warn!(target: "hubcap::store", "the index cannot be read, and begins anew: {why}");
        }
        open.shut();
        *open = Open { trees: Some(public), generation: open.generation + 1 };
        own::remove(&self.layout.sled())?;
        drop(open);
        self.heal();
        Ok(())
    }

    /// Closes sled and, where the index is kept, writes the checksum of its files, so that the next start can trust them.
    pub(super) fn close(&self, kept: bool) {
        let Some(trees) = self.write().trees.take() else { return };
        let is_complete = kept && !trees.is_in_memory();
        // sled panics where the disk does not take what it writes as it ends.
        let is_closed = contained(|| {
            drop(trees);
            Ok(())
        });
        if let Err(why) = &is_closed {
            tracing::warn!(target: "hubcap::store", "the index is not closed, so it is rebuilt next time: {why}");
        }
        if !is_complete || is_closed.is_err() {
            return;
        }
        let checksum =
            checksum(&self.layout).ok_or_else(|| std::io::Error::other("the index cannot be read"));
        if let Err(error) = checksum.and_then(|checksum| fs::write(self.layout.clean_checksum(), checksum)) {
            tracing::warn!(target: "hubcap::store",
                "the index's checksum is not written, so it is rebuilt next time: {error}");
        }
    }

    /// Puts another index in the place of the one of this generation, unless another thread has done that.
    fn replace(&self, generation: u64, make: impl FnOnce(&ImageIndex) -> Trees) {
        {
            let mut open = self.write();
            if open.generation != generation || open.trees.is_none() {
                return;
            }
            open.shut();
        }
        let images = self.layout.read_index().unwrap_or_else(|error| {
            tracing::warn!(target: "hubcap::store", "{error}");
            ImageIndex::default()
        });
        // Filled before anybody may ask it: what is private must be so from the first look on.
        self.publish(make(&images));
    }

    fn publish(&self, trees: Trees) {
        let mut open = self.write();
        *open = Open { trees: Some(trees), generation: open.generation + 1 };
    }

    fn read(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a corrupt index away and fills a new one; in memory, where the disk takes none.
fn rebuilt(layout: &Layout, why: &str, images: &ImageIndex) -> Trees {
    tracing::warn!(target: "hubcap::store", "the index is corrupt ({why}); it is rebuilt from the layout");
    let (path, aside) = (layout.sled(), layout.corrupt_sled());
    let _ = own::remove(&aside);
    let moved = fs::rename(&path, &aside).map_err(|error| error.to_string());
    let opened = moved.and_then(|()| on_disk(layout, images));
    opened.unwrap_or_else(|why| instead_of(&why, layout, images))
}

/// One on the disk, filled.
fn on_disk(layout: &Layout, images: &ImageIndex) -> Result<Trees, String> {
    contained(|| {
        let trees = Trees::open(&layout.sled())?;
        // It may be another store's.
        trees.keep_owned(&here(layout))?;
        refill(&trees, layout, images)?;
        // Some errors of the disk are told only now.
        trees.flush()?;
        Ok(trees)
    })
}

/// Brings an index that was found up to date with the layout.
fn refill(trees: &Trees, layout: &Layout, images: &ImageIndex) -> sled::Result<()> {
    trees.keep_links_of_owned()?;
    take_lost_marks(trees, layout, images)?;
    fill(trees, layout, images, owners(trees)?)
}

/// Takes from everybody what is in a store that has lost its modes: that its files can be read by all says nothing. What the
/// index still knows to be a public repository's stays. After a kill it lacks the last seconds.
fn take_lost_marks(trees: &Trees, layout: &Layout, images: &ImageIndex) -> sled::Result<()> {
    let readers = |top: &Digest| layout.size_of(top).map(|_| layout.readers(top));
    if !are_modes_lost(layout.modes(), &images.tops(), readers) {
        return Ok(());
    }
    let mut private: HashSet<Target> = trees.private()?.into_iter().collect();
    private.extend(images.entries().filter(|entry| entry.private).map(|entry| entry.target));
    let owned = trees.all_owned()?.into_iter();
    let public: HashSet<Digest> = owned
        .filter(|(target, _, owned)| owned.by == By::Registry && !private.contains(target))
        .map(|(_, digest, _)| digest)
        .collect();
    for (digest, _) in layout.digests().filter(|(digest, _)| !public.contains(digest)) {
        layout.mark(&digest, Readers::Granted);
    }
    Ok(())
}

/// Whether an index that is found still knows who has what.
fn owners(trees: &Trees) -> sled::Result<Owners> {
    Ok(if trees.has_owned()? { Owners::Index } else { Owners::Layout })
}

fn here(layout: &Layout) -> HashSet<Digest> {
    layout.digests().map(|(digest, _)| digest).collect()
}

/// One in memory, in the place of one on the disk that fails.
fn instead_of(why: &str, layout: &Layout, images: &ImageIndex) -> Trees {
    tracing::warn!(target: "hubcap::store", "the index fails on the disk ({why}); it is kept in memory");
    in_memory(layout, images)
}

fn in_memory(layout: &Layout, images: &ImageIndex) -> Trees {
    let trees = Trees::in_memory();
    if let Err(why) = contained(|| fill(&trees, layout, images, Owners::Layout)) {
        tracing::warn!(target: "hubcap::store", "the index fails: {why}");
    }
    trees
}

/// A checksum of all of sled's files and of `index.json`, which must be of the same time; `None` when one cannot be read.
fn checksum(layout: &Layout) -> Option<Vec<u8>> {
    let mut paths = vec![layout.image_index(), layout.sled()];
    let mut verifier = Verifier::new(Algorithm::Sha256);
    while let Some(path) = paths.pop() {
        // By name only: a copy of the store elsewhere is the same store.
        verifier.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        if path.symlink_metadata().ok()?.is_dir() {
            let mut entries: Vec<_> = own::entries(&path).map(|entry| entry.path()).collect();
            entries.sort();
            paths.extend(entries);
        } else {
            hash_range(&own::open(&path).ok()?, 0..u64::MAX, &mut verifier, |_| {}).ok()?;
        }
    }
    Some(verifier.finish().to_string().into_bytes())
}

/// Runs `work`, and makes an error of a panic.
fn contained<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".into()),
    }
}
