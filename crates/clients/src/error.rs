//! Why a client could not be configured.

use std::path::{Path, PathBuf};

/// Why a client could not be configured. Its files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file needs root's rights, and there is no way to get them.
    #[error("{} needs root's rights: {why}; run this as root, or allow sudo without a password", path.display())]
    Rights {
        /// The file.
        path: PathBuf,
        /// What was tried.
        why: String,
    },
    /// A file is not what its client takes.
    #[error("{} is left as it is: {why}", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// The client did not do what it was told.
    #[error("{0}")]
    Client(String),
}

impl Error {
    pub(crate) fn not_understood(path: &Path, why: impl Into<String>) -> Self {
        Self::NotUnderstood { path: path.to_owned(), why: why.into() }
    }
}
