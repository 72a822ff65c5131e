//! Who may read the store. Private images may be in it, so it is its owner's alone, unless its directory was made with another
//! mode, which then goes for everything in it that is not private.
//!
//! A content's file also says by its mode who may have the content, in whatever repository: see [`Readers`]. So the mark is
//! there as soon as the content is, it cannot be lost without it, and archives carry it.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use fs_err as fs;

use crate::layout::own;

/// The mode of a store's directory that hubcap makes.
pub(crate) const DIRECTORY: u32 = 0o700;
/// The mode of what was imported.
const LOCAL: u32 = 0o400;
/// What a file's mode may be at most: nobody but its owner may write it, whatever the umask is.
const FILE: u32 = 0o644;

/// Makes the directory of a store and its parents, where they are missing.
pub(crate) fn make_root(root: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(root).map_err(|error| named(&error, root))
}

/// Makes a directory below `root`, with the root's mode, where it is missing.
pub(crate) fn make_directory(root: &Path, path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode(root)?).create(path).map_err(|error| named(&error, path))
}

/// Options to write a new file into `directory`: everybody who may list it may read the file.
pub(crate) fn new_file(directory: &Path) -> std::io::Result<OpenOptions> {
    let mut options = OpenOptions::new();
    options.write(true).mode(mode(directory)? & FILE);
    Ok(options)
}

/// Options to write a new content, of which nothing is known yet.
pub(crate) fn new_content() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(Readers::Granted.mode());
    options
}

/// Who may have a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Those to whom a registry gives it: it came by a login, or how it came is not known. Mode 0600.
    Granted,
    /// Who asks this machine's hubcap for the image that it was imported with. Whose it is is not known, so it is carried
    /// nowhere. Mode 0400.
    Local,
    /// Anybody, in whatever repository that names it: a registry gave it of a public one. Mode 0644.
    All,
}

impl Readers {
    /// As a content's mode says. One that hubcap does not set says nothing: somebody has changed it, or the file system gives
    /// all files the same one.
    pub(crate) const fn of(mode: u32) -> Self {
        match mode & 0o777 {
            FILE => Self::All,
            LOCAL => Self::Local,
            _ => Self::Granted,
        }
    }

    /// The mode that says so.
    pub(crate) const fn mode(self) -> u32 {
        match self {
            Self::Granted => 0o600,
            Self::Local => LOCAL,
            Self::All => FILE,
        }
    }
}

/// Whether the modes of a store's files, or of an archive of it, say who may have its contents. Copies may lose them, as zip and
/// uploads of single files do, and `chmod -R` widens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modes {
    /// They are those that hubcap has set.
    Kept,
    /// They may be any.
    Unknown,
    /// They are not.
    Lost,
}

impl Modes {
    /// By the mode of the file that has always the one of [`Readers::Granted`].
    pub(crate) const fn of(mode: u32) -> Self {
        if mode & 0o777 == Readers::Granted.mode() { Self::Kept } else { Self::Lost }
    }
}

/// Marks a content. Does nothing for one that is not here.
pub(crate) fn mark(content: &Path, readers: Readers) -> std::io::Result<()> {
    let (file, metadata) = match own::opened(content) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| named(&error, content))?,
    };
    if metadata.permissions().mode() & 0o777 == readers.mode() {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(readers.mode())).map_err(|error| named(&error, content))
}

/// Marks a content that is being written.
pub(crate) fn mark_open(content: &std::fs::File, readers: Readers) -> std::io::Result<()> {
    content.set_permissions(Permissions::from_mode(readers.mode()))
}

fn mode(directory: &Path) -> std::io::Result<u32> {
    Ok(fs::metadata(directory)?.permissions().mode() & 0o777)
}

fn named(error: &std::io::Error, path: &Path) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root_mode: Option<u32>) -> (u32, u32) {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("a/store");
        make_root(&root).expect("made");
        if let Some(mode) = root_mode {
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).expect("changed");
        }
        let below = root.join("blobs/sha256");
        make_directory(&root, &below).expect("made");
        let file = new_file(&below).expect("options").create_new(true).open(below.join("file"));
        let file = file.expect("made").metadata().expect("there").permissions().mode() & 0o777;
        (mode(&below).expect("there"), file)
    }

    #[test]
    fn a_content_is_private_until_it_is_marked() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("content");
        new_content().create_new(true).open(&path).expect("made");
        let told = || Readers::of(std::fs::metadata(&path).expect("there").permissions().mode());
        assert_eq!(told(), Readers::Granted);
        for readers in [Readers::All, Readers::All, Readers::Local, Readers::Granted] {
            mark(&path, readers).expect("marked");
            assert_eq!(told(), readers);
        }
        let changed = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&path, changed).expect("changed");
        assert_eq!(told(), Readers::Granted, "hubcap sets no such mode");
        mark(&dir.path().join("another"), Readers::All).expect("nothing to mark");
    }

    #[test]
    fn a_store_is_its_owners_alone() {
        assert_eq!(made(None), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_others_may_read_says_so_for_what_is_in_it() {
        assert_eq!(made(Some(0o750)), (0o750, 0o640));
        assert_eq!(made(Some(0o755)), (0o755, 0o644));
    }
}
