//! What is in a directory, in all that a layer can set.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::image::sha256;

/// What has a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    /// None if it was just now: no layer has set it.
    modified: Option<(i64, i64)>,
    device: u64,
    /// A file's digest, or a symlink's target.
    content: String,
    attributes: BTreeMap<String, Vec<u8>>,
    /// The first path of the same inode.
    linked: Option<PathBuf>,
}

pub(super) type Tree = BTreeMap<PathBuf, Node>;

/// All that is in `root`, and `root` itself.
pub(super) fn walk(root: &Path) -> Tree {
    let (mut tree, mut inodes) = (Tree::new(), BTreeMap::new());
    let mut ahead = vec![root.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let metadata = path.symlink_metadata().expect("metadata");
        if metadata.is_dir() {
            let mut below: Vec<_> = std::fs::read_dir(&path)
                .expect("readable")
                .map(|entry| entry.expect("an entry").path())
                .collect();
            below.sort();
            ahead.extend(below.into_iter().rev());
        }
        let relative = path.strip_prefix(root).expect("below").to_path_buf();
        let first = inodes.entry(metadata.ino()).or_insert_with(|| relative.clone());
        let linked = (*first != relative).then(|| first.clone());
        tree.insert(relative, node(&path, &metadata, linked));
    }
    tree
}

/// Fails with the first difference.
pub(super) fn assert_same(ours: &Tree, theirs: &Tree, about: &str) {
    for (path, node) in theirs {
        assert_eq!(ours.get(path), Some(node), "{about}: {}; right is containerd's", path.display());
    }
    let more: Vec<_> = ours.keys().filter(|path| !theirs.contains_key(*path)).collect();
    assert!(more.is_empty(), "{about}: containerd makes none of {more:?}");
}

fn node(path: &Path, metadata: &Metadata, linked: Option<PathBuf>) -> Node {
    let kind = metadata.file_type();
    let (kind, content) = match () {
        () if kind.is_dir() => ("directory", String::new()),
        () if kind.is_file() => ("file", sha256(&std::fs::read(path).expect("readable"))),
        () if kind.is_symlink() => {
            ("symlink", std::fs::read_link(path).expect("a link").display().to_string())
        }
        () if kind.is_char_device() => ("character device", String::new()),
        () if kind.is_block_device() => ("block device", String::new()),
        () if kind.is_fifo() => ("fifo", String::new()),
        () => ("something else", String::new()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    let modified =
        Some((metadata.mtime(), metadata.mtime_nsec())).filter(|(seconds, _)| (now - seconds).abs() > 3600);
    Node {
        kind,
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified,
        device: metadata.rdev(),
        content,
        attributes: attributes(path),
        linked,
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut names, mut value) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("attributes");
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut read = |name: &[u8]| {
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("an attribute");
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), read(name))).collect()
}
