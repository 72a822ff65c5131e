//! The open store: one object for everything that this process knows of it.

mod manifests;
mod reopen;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use hubcap_oci::{Digest, Pattern, Target};

use crate::budget::{Limits, Usage};
use crate::content::Content;
use crate::content::verified::Verified;
use crate::error::Error;
use crate::index::Index;
use crate::ingest::Ingest;
use crate::layout::Layout;
use crate::layout::image_index::ImageIndex;
use crate::lock::Lock;
use crate::mutex::lock;
use crate::rebuild;
use manifests::Recent;

/// How a store is kept.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How much it may hold.
    pub limits: Limits,
    /// Images that are never removed to make room.
    pub pins: Vec<Pattern>,
}

/// An open store; a clone is another handle of the same one.
///
/// Its methods may block for the time of a small disk access. Those that write are for a thread that may block.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    /// What `index.json` says. Its lock also puts its rewriting in order.
    pub(crate) images: Mutex<ImageIndex>,
    pub(crate) index: Index,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) verified: Verified,
    pub(crate) limits: Limits,
    pub(crate) usage: Mutex<Usage>,
    pub(crate) pins: Vec<Pattern>,
    /// How many ingests write a content now.
    pub(crate) in_flight: Mutex<HashMap<Digest, u32>>,
    /// Why nothing can be written, where nothing can.
    pub(crate) read_only: Option<Arc<str>>,
    /// `None` where it is only read.
    pub(crate) lock: Mutex<Option<Lock>>,
}

impl Store {
    /// Opens the store at `root`, and makes it where it is missing.
    ///
    /// What an earlier process left half-written is thrown away. A missing or corrupt index is rebuilt from the
    /// layout; a corrupt `index.json` is rebuilt from what the index knows.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::Io`] when it cannot be made or read.
    pub fn open(root: &Path, options: Options) -> Result<Self, Error> {
        let (layout, lock) = Self::take(root)?;
        let images = layout.read_index();
        let corrupt = matches!(images, Err(Error::Damaged { .. }));
        let mut images = match images {
            Ok(images) => images,
            Err(Error::Damaged { path, why }) => {
                tracing::warn!(target: "hubcap::store", "{} is damaged ({why}); it is rebuilt from the index", path.display());
                ImageIndex::default()
            }
            Err(error) => return Err(error),
        };
        let (index, clean) = Index::open(&layout, &images)?;
        if corrupt {
            images = rebuild::image_index(&index);
            layout.write_index(&images)?;
        } else if !clean {
            let missing = layout.missing(&images);
            if !missing.is_empty() {
                images.remove(&missing.iter().collect::<Vec<_>>());
                layout.write_index(&images)?;
            }
        }
        Ok(Self::new((layout, images), index, options, Ok(lock)))
    }

    /// Makes what is missing, and takes it for this process.
    fn take(root: &Path) -> Result<(Layout, Lock), Error> {
        let layout = Layout::create(root)?;
        let lock = Lock::take(&layout)?;
        layout.discard_ingests();
        Ok((layout, lock))
    }

    /// Opens the store at `root` without writing to it, because of `why`. What is in it is served, and nothing more
    /// is stored.
    pub fn open_read_only(root: &Path, options: Options, why: &Error) -> Self {
        let layout = Layout::at(root);
        let images = layout.read_index().unwrap_or_default();
        let index = Index::temporary(&layout, &images);
        Self::new((layout, images), index, options, Err(why.to_string().into()))
    }

    fn new(
        (layout, images): (Layout, ImageIndex),
        index: Index,
        Options { limits, pins }: Options,
        lock: Result<Lock, Arc<str>>,
    ) -> Self {
        let (lock, read_only) = match lock {
            Ok(lock) => (Some(lock), None),
            Err(why) => (None, Some(why)),
        };
        Self(Arc::new(Inner {
            layout,
            images: Mutex::new(images),
            index,
            recent: Mutex::default(),
            verified: Verified::default(),
            limits,
            usage: Mutex::default(),
            pins,
            in_flight: Mutex::default(),
            read_only,
            lock: Mutex::new(lock),
        }))
    }

    /// The directory it is in.
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// A committed content, opened; `None` when there is none of that name.
    ///
    /// One that this process has not verified yet comes as a growing one, which is hashed while it is read. When it
    /// turns out damaged it is quarantined, and its readers fail before its last bytes.
    ///
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Content>, Error> {
        let path = self.0.layout.blob(digest);
        // Not through fs-err: this is the hot path, and "not found" is an answer, not an error to be told.
        match std::fs::File::open(&path) {
            Ok(file) => {
                let size = file.metadata()?.len();
                self.0.index.used(digest);
                let (store, name) = (self.clone(), *digest);
                let damaged = move || store.quarantine(&name);
                Ok(Some(self.0.verified.content(digest, (file, size), damaged)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(std::io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
            }
        }
    }

    /// Whether there is a committed content of that name.
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.layout.blob(digest).exists()
    }

    /// Begins to write a content that is to have this digest. Where its `size` is known, room for it is made within the
    /// limits now.
    ///
    /// # Errors
    /// [`Error::NoRoom`] and [`Error::ReadOnly`]; [`Error::Io`] when no file can be made, or the disk is full.
    pub fn ingest(&self, digest: Digest, size: Option<u64>) -> Result<Ingest, Error> {
        match &self.0.read_only {
            Some(why) => Err(Error::ReadOnly { why: Arc::clone(why) }),
            None => {
                self.present()?;
                Ingest::begin(self, digest, size)
            }
        }
    }

    /// Whether nothing can be written, so that [`ingest`](Self::ingest) is refused.
    pub fn is_read_only(&self) -> bool {
        self.0.read_only.is_some()
    }

    /// Remembers that the repository has this content.
    ///
    /// # Errors
    /// None for a corrupt index, which is rebuilt.
    pub fn link(&self, target: &Target, digest: &Digest) -> Result<(), Error> {
        self.0.index.link_unsized(target, digest);
        Ok(())
    }

    /// The length in bytes that a stored manifest of the repository gives for a content.
    pub fn linked_size(&self, target: &Target, digest: &Digest) -> Option<u64> {
        self.0.index.linked_size(target, digest)
    }

    /// The repositories that are known to have a content.
    pub fn targets(&self, digest: &Digest) -> Vec<Target> {
        self.0.index.targets(digest)
    }

    /// Writes what is only in memory: when contents were last used. Finds out, too, whether the store is still there.
    pub fn flush(&self) {
        if let Err(error) = self.present() {
            tracing::debug!(target: "hubcap::store", "{error}");
        }
        self.0.index.flush();
    }

    /// Whether the repository is known to have this content.
    pub fn is_linked(&self, target: &Target, digest: &Digest) -> bool {
        self.0.index.is_linked(target, digest)
    }

    /// Closes the store in order: writes what is only in memory, so that the next start need not look at everything.
    /// What is asked of it after that finds nothing.
    pub fn close(&self) {
        self.0.index.close(self.0.read_only.is_none());
    }

    /// Puts a content that is not what its name says out of the way, for a look at it later.
    pub fn quarantine(&self, digest: &Digest) {
        let (from, to) = (self.0.layout.blob(digest), self.0.layout.quarantined(digest));
        self.0.verified.forget(digest);
        lock(&self.0.recent).forget(digest);
        tracing::warn!(target: "hubcap::store", digest = %digest, "the content is damaged; it is moved to {}",
            to.display());
        if let Err(error) = fs::rename(&from, &to) {
            tracing::warn!(target: "hubcap::store", "{error}");
        }
    }
}
