//! Paths as archives have them: bytes, with `/` between components.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The shortest path that means the same without looking at the disk, as Go's `path/filepath.Clean` has it: "a//b/../c/" is
/// "a/c", "" is ".", and ".." stays only at the beginning of a relative path.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", &joined[..]].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// What comes up to the last `/`, and what comes after it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Whether this is the name of something in a directory, not the directory itself or the one above it.
pub(crate) fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
}

/// A path below `parent`; the root is "".
pub(crate) fn join(parent: &[u8], component: &[u8]) -> Vec<u8> {
    if parent.is_empty() { component.to_vec() } else { [parent, b"/", component].concat() }
}

/// For messages.
pub(crate) fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_as_go_cleans_it() {
        for (path, cleaned) in [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("a/", "a"),
            ("./a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
            ("../a", "../a"),
            ("../../a/../b", "../../b"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/a/../../..", "/"),
            ("...", "..."),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path:?}");
        }
    }

    #[test]
    fn a_path_is_split_at_its_last_slash() {
        for (path, parent, name) in [("a", "", "a"), ("a/b/c", "a/b", "c"), ("/a", "", "a"), ("a/", "a", "")]
        {
            assert_eq!(split(path.as_bytes()), (parent.as_bytes(), name.as_bytes()), "{path:?}");
        }
    }
}
