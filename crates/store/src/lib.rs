//! The disk: a content-addressed store in a standard OCI image layout.
//!
//! In the order of a content's life:
//!
//! - [`layout`]: which file is where, and `index.json`, which names what is in the store.
//! - [`mod@lock`]: one process at a time.
//! - [`ingest`]: a content that is being written; [`Ingest::commit`] is the only way into `blobs/`.
//! - [`content`]: reading one, committed or still growing.
//! - [`verified`]: what this process has not verified yet is, while it is first read.
//! - [`index`]: sled; quick answers to "who may have this" and "what does this tag mean".
//! - [`rebuild`]: that index from the layout, whenever it is missing or torn.
//! - [`manifests`]: manifests and tags, on top of all that.
//! - [`mod@images`]: what is in a store, read without opening it.

pub mod content;
pub mod images;
mod index;
pub mod ingest;
pub mod layout;
mod lock;
mod manifests;
mod rebuild;
mod verified;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use hubcap_oci::{Digest, Target};

pub use content::{Content, HOLD_BACK, Progress, ReadError, Reader};
pub use images::{StoredImage, images};
pub use index::TagEntry;
pub use ingest::Ingest;

use index::Index;
use layout::{ImageIndex, Layout};
use lock::Lock;
use manifests::Recent;
use verified::Verified;

/// What can go wrong with the disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the store open.
    #[error("the store {} is in use by process {pid}; stop it, or choose another --store", path.display())]
    Held {
        /// The store.
        path: PathBuf,
        /// Who holds it; empty when that cannot be told.
        pid: String,
    },
    /// The bytes are not what their name says. Nothing of them is visible.
    #[error("expected {expected}, got {actual}")]
    DigestMismatch {
        /// The name that was asked for.
        expected: Box<Digest>,
        /// What came.
        actual: Box<Digest>,
    },
    /// The file system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file of the layout is not what it should be.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// An open store; a clone is another handle of the same one.
///
/// Its methods may block for the time of a small disk access. Those that write are for a thread that may block.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layout: Layout,
    /// What `index.json` says. Its lock also puts its rewriting in order.
    images: Mutex<ImageIndex>,
    index: Index,
    recent: Mutex<Recent>,
    verified: Verified,
    _lock: Lock,
}

impl Store {
    /// Opens the store at `root`, and makes it where it is missing.
    ///
    /// What an earlier process left half-written is thrown away. A missing or torn index is rebuilt from the
    /// layout; a torn `index.json` is set aside and written anew from what the index knows.
    ///
    /// # Errors
    /// [`Error::Held`] when another process has it open, [`Error::Io`] when it cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Layout::create(root)?;
        let lock = Lock::take(&layout)?;
        layout.discard_ingests();
        let images = layout.read_index();
        let torn = matches!(images, Err(Error::Damaged { .. }));
        let mut images = match images {
            Ok(images) => images,
            Err(Error::Damaged { path, why }) => {
                tracing::warn!(target: "hubcap::store", "{} is damaged ({why}); it is written anew", path.display());
                ImageIndex::default()
            }
            Err(error) => return Err(error),
        };
        let index = Index::open(&layout, &images)?;
        if torn {
            images = rebuild::image_index(&index);
            layout.write_index(&images)?;
        }
        let (images, recent, verified) = (Mutex::new(images), Mutex::default(), Verified::default());
        Ok(Self(Arc::new(Inner { layout, images, index, recent, verified, _lock: lock })))
    }

    /// The directory it is in.
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// A committed content, opened; `None` when there is none of that name.
    ///
    /// One that this process has not verified yet comes as a growing one, which is hashed while it is read. When it
    /// turns out damaged it is put aside, and its readers fail before its last bytes.
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

    /// Begins to write a content that is to have this digest. Where its `size` is known, room for it is taken now, so
    /// that a full disk is met before the first byte.
    ///
    /// # Errors
    /// [`Error::Io`] when no file can be made, or the disk has no room.
    pub fn ingest(&self, digest: Digest, size: Option<u64>) -> Result<Ingest, Error> {
        Ingest::begin(&self.0.layout, (digest, size), self.0.verified.clone())
    }

    /// Remembers that the repository has this content.
    ///
    /// # Errors
    /// None for a torn index, which is rebuilt.
    pub fn link(&self, target: &Target, digest: &Digest) -> Result<(), Error> {
        self.0.index.link(target, &[*digest]);
        Ok(())
    }

    /// Whether the repository is known to have this content.
    pub fn is_linked(&self, target: &Target, digest: &Digest) -> bool {
        self.0.index.is_linked(target, digest)
    }

    /// Closes the store in order: writes what is only in memory, so that the next start need not look at everything.
    /// What is asked of it after that finds nothing.
    pub fn close(&self) {
        self.0.index.close();
    }

    /// Puts a content that is not what its name says out of the way, for a look at it later.
    fn quarantine(&self, digest: &Digest) {
        let (from, to) = (self.0.layout.blob(digest), self.0.layout.quarantined(digest));
        self.0.verified.forget(digest);
        tracing::warn!(target: "hubcap::store", digest = %digest, "the content is damaged; it is moved to {}",
            to.display());
        if let Err(error) = fs::rename(&from, &to) {
            tracing::warn!(target: "hubcap::store", "{error}");
        }
    }
}

/// Nothing here is left half-changed by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
