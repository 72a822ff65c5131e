//! Who may read the store. Others' private images may be in it, so it is its owner's alone, unless its directory was made
//! with another mode: that mode then says it for everything in it.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use fs_err as fs;

/// The mode of a store's directory that hubcap makes.
const DIRECTORY: u32 = 0o700;
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
    fn a_store_is_its_owners_alone() {
        assert_eq!(made(None), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_others_may_read_says_so_for_what_is_in_it() {
        assert_eq!(made(Some(0o750)), (0o750, 0o640));
        assert_eq!(made(Some(0o755)), (0o755, 0o644));
    }
}
