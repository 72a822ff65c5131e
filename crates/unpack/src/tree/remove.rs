//! Removing something with all that is below it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Names of a directory that are read at once: a directory may have millions, and a tree thousands of levels.
const NAMES: usize = 64;

/// Removes what has this name in `parent`, if there is anything; symlinks are removed, not followed.
pub(crate) fn remove(parent: impl AsFd, component: &[u8]) -> Result<(), Errno> {
    let name = CString::new(component).map_err(|_| Errno::INVAL)?;
    // Not by calling itself: the stack ends before a deep tree does.
    let mut levels = Vec::from_iter(unlink(parent.as_fd(), name)?);
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.next()? {
            let below = unlink(level.directory.as_fd(), name)?;
            levels.extend(below);
        } else if let Some(Level { name, .. }) = levels.pop() {
            let above = levels.last().map_or(parent.as_fd(), |level| level.directory.as_fd());
            fs::unlinkat(above, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Removes something unless it is a directory, which is opened.
fn unlink(parent: BorrowedFd<'_>, name: CString) -> Result<Option<Level>, Errno> {
    match fs::unlinkat(parent, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::ISDIR | Errno::PERM) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = fs::openat(parent, &name, flags, Mode::empty())?;
            Ok(Some(Level { name, directory, names: Vec::new() }))
        }
        Err(error) => Err(error),
    }
}

/// A directory that is being emptied.
struct Level {
    name: CString,
    directory: OwnedFd,
    names: Vec<CString>,
}

impl Level {
    /// The next name in it; none if it is empty.
    fn next(&mut self) -> Result<Option<CString>, Errno> {
        if self.names.is_empty() {
            let names =
                Dir::read_from(&self.directory)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
            let is_below = |name: &Result<CString, Errno>| {
                name.as_ref().map_or(true, |name| crate::name::is_component(name.to_bytes()))
            };
            self.names = names.filter(is_below).take(NAMES).collect::<Result<_, _>>()?;
        }
        Ok(self.names.pop())
    }
}
