//! One process at a time: a lock on a file, which the kernel gives back when its holder dies.

use std::fs::TryLockError;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use fs_err as fs;

use crate::error::Error;
use crate::layout::Layout;
use crate::permissions;

/// The store is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: std::fs::File,
}

/// What is at the path of a lock that we hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The same file.
    Ours,
    /// Nothing.
    Gone,
    /// Another store's.
    Another,
}

impl Lock {
    pub(crate) fn take(layout: &Layout) -> Result<Self, Error> {
        let path = layout.lock();
        // Not truncated before the lock is ours: the content names the present holder.
        let options = permissions::new_file(layout.root())?;
        let file = fs::OpenOptions::from_options(options).create(true).truncate(false).open(&path)?;
        let (mut file, _) = file.into_parts();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                return Err(Error::InUse { path: layout.root().to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }

    /// Whether the store that this locks is still in its place.
    pub(crate) fn still_at(&self, layout: &Layout) -> Place {
        let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        let Ok(there) = std::fs::metadata(layout.lock()) else { return Place::Gone };
        match self.file.metadata() {
            Ok(ours) if identity(&ours) == identity(&there) => Place::Ours,
            _ => Place::Another,
        }
    }
}
