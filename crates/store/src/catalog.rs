//! What an open store knows of itself: its files, their names in `index.json`, the index, and what is in memory of all that.
//! Who adds or removes a content does it here, so that memory and disk agree.

mod recent;

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fs_err as fs;
use hubcap_oci::{Digest, Manifest, Target};

use crate::content::Content;
use crate::content::original::Written;
use crate::content::verified::Verified;
use crate::error::Error;
use crate::index::Index;
use crate::layout::image_index::ImageIndex;
use crate::layout::{Durability, Layout, own};
use crate::mutex::lock;
use recent::{Recent, RecentManifests};

/// How long a file that could not be removed is left alone.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) layout: Layout,
    /// What `index.json` says. Its lock also puts the rewriting of the file in order.
    pub(crate) images: Mutex<ImageIndex>,
    pub(crate) index: Index,
    recent: Mutex<RecentManifests>,
    pub(crate) verified: Verified,
    /// Bytes of all contents, quarantine included; counted at the first question, kept right from then on.
    stored: Mutex<Option<u64>>,
    /// Contents that are to be written to the disk, with [`Durability::Synced`].
    unsynced: Mutex<Vec<Digest>>,
    /// Files that could not be removed, and when.
    stuck: Mutex<HashMap<PathBuf, Instant>>,
}

impl Catalog {
    pub(crate) fn new(layout: Layout, images: ImageIndex, index: Index) -> Self {
        Self {
            layout,
            images: Mutex::new(images),
            index,
            recent: Mutex::default(),
            verified: Verified::default(),
            stored: Mutex::default(),
            unsynced: Mutex::default(),
            stuck: Mutex::default(),
        }
    }

    /// A committed content, opened; `None` when there is none of that name.
    pub(crate) fn blob(self: &Arc<Self>, digest: &Digest) -> Result<Option<Content>, Error> {
        if self.is_wrong(digest) {
            return Ok(None);
        }
        let path = self.layout.blob(digest);
        match own::opened(&path) {
            Ok((file, metadata)) => {
                self.index.used(digest);
                let (catalog, name) = (Arc::clone(self), *digest);
                Ok(Some(self.verified.content(digest, file, metadata, move || catalog.quarantine(&name))))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(std::io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
            }
        }
    }

    /// Whether there is a committed content of that name.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.layout.size_of(digest).is_some() && !self.is_wrong(digest)
    }

    /// Whether a content is damaged and could not be moved away: it counts as missing.
    fn is_wrong(&self, digest: &Digest) -> bool {
        self.verified.is_wrong(digest, || own::metadata(&self.layout.blob(digest)))
    }

    /// A stored manifest, verified, as the registry called it in this repository; else as it calls itself. One that is
    /// damaged is quarantined, and counts as missing.
    pub(crate) fn manifest(
        &self,
        target: &Target,
        digest: &Digest,
    ) -> Result<Option<(Arc<Manifest>, Bytes)>, Error> {
        let media_type = self.index.media_type(target, digest);
        if let Some(found) = lock(&self.recent).find(digest, media_type.as_ref()) {
            return Ok(Some(found));
        }
        if self.is_wrong(digest) {
            return Ok(None);
        }
        let Some(bytes) = self.layout.small(digest)? else { return Ok(None) };
        let bytes = Bytes::from(bytes);
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            self.quarantine(digest);
            return Ok(None);
        }
        let Ok(manifest) = Manifest::parse(*digest, &bytes, media_type.as_deref()) else { return Ok(None) };
        let manifest = Arc::new(manifest);
        let found = Recent { manifest: Arc::clone(&manifest), bytes: bytes.clone(), media_type };
        lock(&self.recent).keep(*digest, found);
        Ok(Some((manifest, bytes)))
    }

    /// Makes a whole file of `size` bytes a content, which was verified when it was `written` like this.
    pub(crate) fn add(&self, file: &Path, digest: &Digest, size: u64, written: Written) -> Result<(), Error> {
        let destination = self.layout.blob(digest);
        // One that is there already, from another fetch or before a change on the disk, is replaced.
        let replaced = self.layout.size_of(digest).unwrap_or(0);
        own::make_way(&destination, Metadata::is_file)?;
        fs::rename(file, &destination)?;
        if let Some(stored) = lock(&self.stored).as_mut() {
            *stored = (*stored + size).saturating_sub(replaced);
        }
        // Gone again already, not to be looked at, or changed since, it is verified when it is asked for.
        if let Some(metadata) = own::metadata(&destination).filter(|file| Written::of(file) == written) {
            self.verified.note(digest, &metadata);
        }
        if self.layout.durability() == Durability::Synced {
            lock(&self.unsynced).push(*digest);
        }
        Ok(())
    }

    /// Writes the contents that were added since the last time to the disk, where that is wanted: together and later, so that
    /// no client waits for the disk. What a power cut takes until then is missing or found damaged, and is fetched again.
    pub(crate) fn sync(&self) {
        let is_synced = self.layout.durability() == Durability::Synced;
        let mut unsynced = std::mem::take(&mut *lock(&self.unsynced));
        // A new index.json has its own bytes on the disk, and not yet its name.
        let is_renamed = is_synced && self.layout.is_index_renamed();
        if (is_renamed || !unsynced.is_empty())
            && let Err(error) = self.layout.sync(&unsynced)
        {
            lock(&self.unsynced).append(&mut unsynced);
            tracing::warn!(target: "hubcap::store", "what was stored last may not survive a power cut: {error}");
        }
    }

    /// Removes a content, and returns how many bytes are gone. Who has it open reads on.
    pub(crate) fn remove(&self, digest: &Digest) -> u64 {
        self.forget(digest);
        self.remove_file(&self.layout.blob(digest))
    }

    /// Removes the file of a content, or of one in quarantine, and returns how many bytes are gone.
    pub(crate) fn remove_file(&self, path: &Path) -> u64 {
        let size = own::metadata(path).map_or(0, |metadata| metadata.len());
        match fs::remove_file(path) {
            Ok(()) => {
                if let Some(stored) = lock(&self.stored).as_mut() {
                    *stored = stored.saturating_sub(size);
                }
                size
            }
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(target: "hubcap::gc", "{error}; it stays for now");
                    lock(&self.stuck).insert(path.to_owned(), Instant::now());
                }
                0
            }
        }
    }

    /// Whether a file could not be removed a moment ago, so that others have to go in its place.
    pub(crate) fn is_stuck(&self, path: &Path) -> bool {
        let mut stuck = lock(&self.stuck);
        stuck.retain(|_, since| since.elapsed() < STUCK);
        stuck.contains_key(path)
    }

    /// Moves a content that is not what its name says out of the way, for a look at it later.
    pub(crate) fn quarantine(&self, digest: &Digest) {
        let to = self.layout.quarantined(digest);
        self.forget(digest);
        let from = self.layout.blob(digest);
        match fs::rename(&from, &to) {
            Ok(()) => tracing::warn!(target: "hubcap::store", digest = %digest,
                "the content is damaged; it is moved to {}", to.display()),
            Err(error) => {
                if let Some(metadata) = own::metadata(&from) {
                    self.verified.note_wrong(digest, &metadata);
                }
                tracing::warn!(target: "hubcap::store", digest = %digest,
                    "the content is damaged, and is not served any more; it stays, because it cannot be moved: {error}");
            }
        }
    }

    fn forget(&self, digest: &Digest) {
        self.verified.forget(digest);
        lock(&self.recent).forget(digest);
    }

    /// Bytes that are stored, quarantine included.
    pub(crate) fn size(&self) -> u64 {
        *lock(&self.stored).get_or_insert_with(|| {
            let directories = self.layout.contents().into_iter().chain([self.layout.quarantine()]);
            let entries = directories.flat_map(|directory| own::entries(&directory));
            entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
        })
    }

    /// Counts what is stored when that is asked for next.
    pub(crate) fn count_anew(&self) {
        *lock(&self.stored) = None;
    }

    /// Forgets everything, and begins with what `index.json` says now: it is another store. Only what is private stays so: who may
    /// have what does not change with the store.
    pub(crate) fn reset(&self, mut found: ImageIndex) {
        let mut images = lock(&self.images);
        let private = self.index.private();
        self.layout.forget_index();
        self.index.reopen(&found);
        self.index.name(&mut found);
        for target in &private {
            self.index.mark_private(target);
            found.mark_private(target);
        }
        // What is private in it is so from the first look on, whatever its files' modes are.
        self.index.put_marks_right(&found);
        self.layout.keep_modes();
        self.layout.keep_index(&found);
        *images = found;
        *lock(&self.recent) = RecentManifests::default();
        self.verified.forget_all();
        *lock(&self.stored) = None;
    }
}
