//! The parsers of what a store is restored and imported from, for `fuzz/` alone.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Mutex;

use bytes::Bytes;
use hubcap_oci::ImageRef;
use tempfile::{NamedTempFile, TempDir};

use crate::layout::image_index::{Entry, ImageIndex};
use crate::mutex::lock;
use crate::pack::directory::Location;
use crate::pack::read::Head;
use crate::store::{Options, Store};

/// A file that a caller wants out of an archive.
const BESIDE: &str = "speed.json";

/// Runs that share a store: opening one takes longer than what is tried, and in a full one everything takes longer.
const RUNS: u32 = 200;

/// The store, and how many runs are left to it.
static STORE: Mutex<Option<(u32, Opened)>> = Mutex::new(None);

/// A store, and what is in its directory.
struct Opened {
    directory: TempDir,
    store: Store,
    names: Vec<OsString>,
}

impl Opened {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), Options::default()).expect("a store");
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name()).collect();
        Self { directory, store, names }
    }
}

fn with_store(run: impl FnOnce(&Opened)) {
    let mut shared = lock(&STORE);
    let (left, opened) = shared.take().filter(|(left, _)| *left > 0).unwrap_or_else(|| (RUNS, Opened::new()));
    run(&opened);
    *shared = Some((left - 1, opened));
}

/// Reads and writes an `index.json`; every entry that is understood survives both.
///
/// # Panics
/// When one does not: that is what is looked for.
pub fn image_index(bytes: &[u8]) {
    let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes) else { return };
    let mut again = ImageIndex::default();
    for entry in index.entries() {
        let Entry { target, tag, descriptor, private, subject, .. } = &entry;
        match subject {
            Some(subject) => drop(again.put_referrers(target, subject, descriptor, *private)),
            None => drop(again.put(target, tag.as_ref(), descriptor, *private)),
        }
        let found =
            again.entries().any(|one| one.name() == entry.name() && one.descriptor == entry.descriptor);
        assert!(found, "{entry:?}");
        let everything: Vec<_> = again.entries().collect();
        let all: Vec<_> = everything.iter().collect();
        let mut emptied = again.clone();
        emptied.remove(&all);
        assert_eq!(emptied.entries().count(), 0);
    }
}

/// Takes in the beginning of a pack with this directory and this head.
///
/// # Panics
/// When a content of it would be a range that there cannot be.
pub fn pack(directory: &[u8], head: &[u8]) {
    let (directory_length, head_length) = (directory.len() as u64, head.len() as u64);
    let mut pack = b"hubcap pack 1\n\0\0".to_vec();
    pack.extend_from_slice(&directory_length.to_be_bytes());
    pack.extend_from_slice(&head_length.to_be_bytes());
    pack.extend_from_slice(directory);
    pack.extend_from_slice(head);
    take_pack(&pack);
}

/// The same for bytes that need not be a pack.
///
/// # Panics
/// As [`pack`].
pub fn take_pack(bytes: &[u8]) {
    let length = Head::length("key", bytes);
    let Ok(head) = Head::read("key", &Bytes::copy_from_slice(bytes)) else { return };
    assert!(length.is_ok_and(|length| length <= bytes.len() as u64));
    with_store(|opened| drop(opened.store.take(&head)));
    let directory = head.into_directory();
    for digest in directory.digests() {
        if let Some((Location::Pack { range, .. }, size)) = directory.find(&digest) {
            assert!(range.end - range.start == size, "{range:?}");
        }
    }
    let _ = directory.size();
}

/// Restores an archive, which may be packed by zstd.
///
/// # Panics
/// When the store cannot be read afterwards.
pub fn restore(archive: &[u8]) {
    with_store(|opened| {
        let _ = opened.store.restore(archive, &[BESIDE], &|| ());
        only_its_own_files(opened);
    });
}

/// Imports an archive as `docker save` writes it, or an OCI layout in a tar.
///
/// # Panics
/// When the store cannot be read afterwards.
pub fn import(archive: &[u8]) {
    let Ok(mut file) = NamedTempFile::new() else { return };
    let Ok(()) = file.write_all(archive) else { return };
    let name: Option<ImageRef> = "fuzz.example/a:1".parse().ok();
    with_store(|opened| {
        for name in [None, name.as_ref()] {
            let _ = opened.store.import(file.path(), name, &|_| ());
        }
        only_its_own_files(opened);
    });
}

/// A store's directory has the files that it had from the beginning, and its `index.json` can be read.
fn only_its_own_files(Opened { directory, names, .. }: &Opened) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_own = names.contains(&entry.file_name()) || entry.file_name() == BESIDE;
        assert!(is_own, "{entry:?}");
    }
    let index = std::fs::read(directory.path().join("index.json")).unwrap_or_default();
    assert!(serde_json::from_slice::<ImageIndex>(&index).is_ok());
}
