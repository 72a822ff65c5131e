//! One process at a time: a lock on a file, which the kernel gives back when its holder dies.

use std::fs::TryLockError;
use std::io::Write as _;

use fs_err as fs;

use crate::Error;
use crate::layout::Layout;

/// The store is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: std::fs::File,
}

impl Lock {
    pub(crate) fn take(layout: &Layout) -> Result<Self, Error> {
        let path = layout.lock();
        // Not truncated before the lock is ours: the content names the present holder.
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let (mut file, _) = file.into_parts();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                return Err(Error::Held { path: layout.root().to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}
