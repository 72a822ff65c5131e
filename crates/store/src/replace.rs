//! Atomic replacement of a file.
//!
//! Not by the crate `tempfile`: its files have random names, which a later start could not tell from others' files when a kill
//! has left one behind.

use std::io::Write as _;
use std::path::Path;

use fs_err as fs;

use crate::layout::own;
use crate::permissions;

/// Replaces the file at `path` in one step: a reader, or tar, sees the old file or the new one. The bytes are written to
/// `temporary` first, which must be on the same file system; only a kill leaves it behind.
///
/// # Errors
/// Those of the file system; the old file is untouched then.
pub(crate) fn replace_file(path: &Path, temporary: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, temporary, || write(path, temporary, bytes).map(drop))
}

/// The same, so that also after a power cut the old file or the new one is there: on some file systems a name may be on the
/// disk before the bytes are.
pub(crate) fn replace_file_durably(path: &Path, temporary: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, temporary, || write(path, temporary, bytes)?.sync_data())
}

fn replace(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<()> {
    let replaced = write().and_then(|()| fs::rename(temporary, path));
    if replaced.is_err() {
        let _ = fs::remove_file(temporary);
    }
    replaced
}

fn write(path: &Path, temporary: &Path, bytes: &[u8]) -> std::io::Result<fs::File> {
    let options = permissions::new_file(path.parent().unwrap_or(path))?;
    // What a kill has left there; or somebody else, to have it written where a link leads.
    own::remove(temporary)?;
    let mut file = fs::OpenOptions::from_options(options).create_new(true).open(temporary)?;
    file.write_all(bytes)?;
    Ok(file)
}
