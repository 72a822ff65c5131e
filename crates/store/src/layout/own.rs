//! What is hubcap's own in a store: directories and files themselves. A store may come out of a cache or a checkout, which
//! somebody else has written: a link there leads out of the store, a pipe never ends, a device is none of hubcap's.

use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to be read.
///
/// # Errors
/// [`ErrorKind::NotFound`] for what is not here, and for what is no file; others as the system has them.
pub(crate) fn open(path: &Path) -> Result<File> {
    opened(path).map(|(file, _)| file)
}

/// The same, with what the system knows of it.
pub(crate) fn opened(path: &Path) -> Result<(File, Metadata)> {
    // A pipe that nobody writes to would keep the caller waiting.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) {
        Err(error) if is_foreign(path) => return Err(Error::new(ErrorKind::NotFound, error)),
        file => file?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::NotFound, "it is no file"));
    }
    Ok((file, metadata))
}

/// All bytes of a file, which may be so many.
///
/// # Errors
/// As [`open`], with the path; [`ErrorKind::FileTooLarge`] for a longer one.
pub(crate) fn read(path: &Path, at_most: u64) -> Result<Vec<u8>> {
    let all = || {
        let mut bytes = Vec::new();
        open(path)?.take(at_most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > at_most {
            return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {at_most} bytes")));
        }
        Ok(bytes)
    };
    all().map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// What the system knows of a file; `None` for what is none.
pub(crate) fn metadata(path: &Path) -> Option<Metadata> {
    std::fs::symlink_metadata(path).ok().filter(Metadata::is_file)
}

/// What is in a directory; nothing, where there is none.
pub(crate) fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    let is_one = is_directory(directory);
    is_one.then(|| std::fs::read_dir(directory)).into_iter().flatten().flatten().flatten()
}

/// Whether anything is in a directory for which that holds; true, too, where it cannot be read.
pub(crate) fn has_any(directory: &Path, holds: impl Fn(&DirEntry) -> bool) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.any(|entry| entry.map_or(true, |entry| holds(&entry))),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Whether a directory and all that is below it are only directories and files. True for one that is not here.
pub(crate) fn is_all(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => entries(path).all(|entry| is_all(&entry.path())),
        Ok(metadata) => metadata.is_file(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Removes what is in the place of a directory, or of a file, without being one.
pub(crate) fn make_way(path: &Path, is_wanted: impl Fn(&Metadata) -> bool) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !is_wanted(&found) => {
            tracing::warn!(target: "hubcap::store", "{} is not hubcap's, and is removed", path.display());
            remove(path)
        }
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it, or a file, or a link alone; nothing, where nothing is.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if is_directory(path) { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::new(error.kind(), format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

pub(crate) fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn is_foreign(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_a_file_itself_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").expect("written");
        symlink(at("file"), at("link")).expect("linked");
        symlink(dir.path(), at("directory-link")).expect("linked");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert_eq!(read(&at("file"), 4).expect("read"), b"text");
        assert_eq!(read(&at("file"), 3).expect_err("too long").kind(), ErrorKind::FileTooLarge);
        for name in ["link", "pipe", ".", "none"] {
            assert_eq!(open(&at(name)).expect_err(name).kind(), ErrorKind::NotFound, "{name}");
            assert!(metadata(&at(name)).is_none(), "{name}");
        }
        assert_eq!(entries(&at("directory-link")).count(), 0);
        assert!(!is_all(dir.path()) && is_all(&at("file")));
        for name in ["directory-link", "pipe"] {
            make_way(&at(name), Metadata::is_dir).expect("removed");
            assert!(at(name).symlink_metadata().is_err(), "{name}");
        }
        assert!(at("file").exists(), "where the link led stays");
    }
}
