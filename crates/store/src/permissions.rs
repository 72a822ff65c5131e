//! Who may read the store. Private images may be in it, so it is its owner's alone, unless its directory was made with another
//! mode, which then goes for everything in it that is not private.
//!
//! A content's file also says by its mode whether anybody may have the content, in whatever repository: 0644 for what a
//! registry gave of a public repository, 0600 for what came by a login, or of which that is not known. So the mark is there as
//! soon as the content is, it cannot be lost without it, and archives carry it.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use fs_err as fs;

use crate::layout::own;

/// The mode of a store's directory that hubcap makes.
const DIRECTORY: u32 = 0o700;
/// The mode of a content that is not for everybody.
const PRIVATE: u32 = 0o600;
/// The bit that everybody's content has.
const FOR_ALL: u32 = 0o004;
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
    options.write(true).mode(PRIVATE);
    options
}

/// Whether anybody may have the content with a file of this mode.
pub(crate) const fn is_public(mode: u32) -> bool {
    mode & FOR_ALL != 0
}

/// Marks a content as one that anybody may have, or takes the mark back. Does nothing for one that is not here.
pub(crate) fn mark(content: &Path, public: bool) -> std::io::Result<()> {
    let (file, metadata) = match own::opened(content) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| named(&error, content))?,
    };
    if is_public(metadata.permissions().mode()) == public {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(if public { FILE } else { PRIVATE }))
        .map_err(|error| named(&error, content))
}

/// Marks a content that is being written as one that anybody may have.
pub(crate) fn publish(content: &std::fs::File) -> std::io::Result<()> {
    content.set_permissions(Permissions::from_mode(FILE))
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
        let is_public = || is_public(std::fs::metadata(&path).expect("there").permissions().mode());
        assert!(!is_public());
        for public in [true, true, false] {
            mark(&path, public).expect("marked");
            assert_eq!(is_public(), public);
        }
        mark(&dir.path().join("another"), true).expect("nothing to mark");
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
