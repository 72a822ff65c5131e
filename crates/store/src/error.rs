//! What can go wrong with the disk.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use hubcap_oci::Digest;

/// What can go wrong with the disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the store open.
    #[error("the store {} is in use by process {pid}; stop it, or choose another --store", path.display())]
    InUse {
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
    /// Everything that may go is gone, and there is still no room.
    #[error("{wanted} more bytes do not fit into --max-size and --min-free")]
    NoRoom {
        /// What was to be written.
        wanted: u64,
    },
    /// The store can be read only.
    #[error("the store cannot be written: {why}")]
    ReadOnly {
        /// What the system said.
        why: Arc<str>,
    },
    /// The file system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file that was to be imported is no image.
    #[error("{} cannot be imported: {why}", path.display())]
    Import {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the layout is not what it should be.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the file system does not let us write, so that reading may still go on.
    pub fn is_unwritable(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(
            error.kind(),
            ErrorKind::ReadOnlyFilesystem
                | ErrorKind::PermissionDenied
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        )
    }
}
