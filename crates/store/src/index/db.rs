//! sled, kept at a distance: it may silently drop what a kill has left corrupt, and panics on some corrupt files where an
//! error would do. Whatever goes wrong with it, its files are moved away and the index is filled from the layout again.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fs_err as fs;
use hubcap_oci::{Algorithm, Verifier};

use super::fill::fill;
use super::trees::Trees;
use crate::hash::hash_range;
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;

/// sled, or nothing when even an empty one cannot be opened.
#[derive(Debug)]
pub(super) struct Db {
    layout: Layout,
    trees: RwLock<Option<Trees>>,
}

impl Db {
    /// Opens the index, and fills it from the layout where it is missing, corrupt or was not closed cleanly. The flag is true
    /// after a clean shutdown.
    pub(super) fn open(layout: &Layout, images: &ImageIndex) -> (Self, bool) {
        let db = Self { layout: layout.clone(), trees: RwLock::new(None) };
        // What sled finds corrupt it may also silently drop, so it is trusted only when its files are those of the last
        // clean shutdown.
        let clean =
            checksum(&layout.sled()).is_some_and(|now| fs::read(layout.clean_checksum()).ok() == Some(now));
        let _ = fs::remove_file(layout.clean_checksum());
        let opened = contained(|| Trees::open(&layout.sled())).or_else(|_| {
            // Corrupt snapshots are what a kill leaves; without them sled reads its log, which has it all.
            for entry in fs::read_dir(layout.sled()).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    let _ = fs::remove_file(entry.path());
                }
            }
            contained(|| Trees::open(&layout.sled()))
        });
        match opened {
            Ok(trees) => {
                *db.write() = Some(trees);
                if !clean {
                    db.fill(images);
                }
                (db, clean)
            }
            Err(why) => {
                db.rebuild(&why, Some(images));
                (db, false)
            }
        }
    }

    /// One for a store that cannot be written: outside of it, and gone with the process.
    pub(super) fn temporary(layout: &Layout, images: &ImageIndex) -> Self {
        let trees = contained(Trees::temporary).inspect_err(|why| {
            tracing::warn!(target: "hubcap::store", "no index can be made, so nothing stored is served: {why}");
        });
        let db = Self { layout: layout.clone(), trees: RwLock::new(trees.ok()) };
        db.fill(images);
        db
    }

    /// Runs `work`; when sled fails or panics, rebuilds the index and runs it once more. `None` when that fails, too, or the
    /// index is closed.
    pub(super) fn with<T>(&self, work: impl Fn(&Trees) -> sled::Result<T>) -> Option<T> {
        for again in [true, false] {
            // Under the lock, so that a close waits for it: sled writes a snapshot when its last handle goes, and a
            // process that ends in the midst of that leaves it corrupt.
            let done = {
                let trees = self.read();
                let trees = trees.as_ref()?;
                contained(|| work(trees))
            };
            match done {
                Ok(value) => return Some(value),
                Err(why) if again => self.rebuild(&why, None),
                Err(why) => tracing::warn!(target: "hubcap::store", "the index fails: {why}"),
            }
        }
        None
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds what `images` names.
    pub(super) fn add(&self, images: &ImageIndex) {
        self.with(|trees| fill(trees, &self.layout, images));
    }

    /// Closes sled for a store that was removed, and opens what is at its place now.
    pub(super) fn reopen(&self, images: &ImageIndex) {
        let mut trees = self.write();
        let _ = contained(|| {
            drop(trees.take());
            Ok(())
        });
        match contained(|| Trees::open(&self.layout.sled())) {
            Ok(opened) => *trees = Some(opened),
            Err(why) => tracing::warn!(target: "hubcap::store", "no index can be made: {why}"),
        }
        drop(trees);
        self.fill(images);
    }

    /// Closes sled and, where the index is kept, writes the checksum of its files, so that the next start can trust them.
    pub(super) fn close(&self, kept: bool) {
        let Some(trees) = self.write().take() else { return };
        drop(trees);
        if !kept {
            return;
        }
        let checksum =
            checksum(&self.layout.sled()).ok_or_else(|| std::io::Error::other("the index cannot be read"));
        if let Err(error) = checksum.and_then(|checksum| fs::write(self.layout.clean_checksum(), checksum)) {
            tracing::warn!(target: "hubcap::store",
                "the index's checksum is not written, so it is rebuilt next time: {error}");
        }
    }

    /// Moves a corrupt index away and fills a new one, from `images` or else from `index.json`.
    fn rebuild(&self, why: &str, images: Option<&ImageIndex>) {
        tracing::warn!(target: "hubcap::store", "the index is corrupt ({why}); it is rebuilt from the layout");
        let (path, aside) = (self.layout.sled(), self.layout.corrupt_sled());
        *self.write() = None;
        let _ = fs::remove_dir_all(&aside);
        let opened = fs::rename(&path, &aside)
            .map_err(|error| error.to_string())
            .and_then(|()| contained(|| Trees::open(&path)));
        match opened {
            Ok(trees) => *self.write() = Some(trees),
            Err(why) => {
                tracing::warn!(target: "hubcap::store", "no index can be opened, so nothing stored is served: {why}");
                return;
            }
        }
        match images.map_or_else(|| self.layout.read_index(), |images| Ok(images.clone())) {
            Ok(images) => self.fill(&images),
            Err(error) => tracing::warn!(target: "hubcap::store", "{error}"),
        }
    }

    /// As [`add`](Self::add), without a rebuild: that ends here.
    fn fill(&self, images: &ImageIndex) {
        let trees = self.read();
        let Some(trees) = trees.as_ref() else { return };
        if let Err(why) = contained(|| fill(trees, &self.layout, images)) {
            tracing::warn!(target: "hubcap::store", "the index fails: {why}");
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Trees>> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Trees>> {
        self.trees.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checksum of all of sled's files; `None` when one cannot be read.
fn checksum(path: &Path) -> Option<Vec<u8>> {
    let mut paths = vec![path.to_owned()];
    let mut verifier = Verifier::new(Algorithm::Sha256);
    while let Some(path) = paths.pop() {
        // By name only: a copy of the store elsewhere is the same store.
        verifier.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        if path.is_dir() {
            let entries = fs::read_dir(&path).ok()?.map(|entry| entry.map(|entry| entry.path()));
            let mut entries = entries.collect::<Result<Vec<_>, _>>().ok()?;
            entries.sort();
            paths.extend(entries);
        } else {
            hash_range(&File::open(&path).ok()?, 0..u64::MAX, &mut verifier, |_| {}).ok()?;
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
