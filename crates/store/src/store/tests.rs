use std::os::unix::fs::PermissionsExt as _;

use hubcap_oci::{Algorithm, Digest, Registry, Target};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::{Error, HOLD_BACK, Limit, Limits, Options, Prune, ReadError, Reader, Store, Wanted};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    (dir, store)
}

fn sha512(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, bytes)
}

#[tokio::test]
async fn a_reader_stays_behind_the_writer_until_the_digest_is_verified() {
    let (_dir, store) = store();
    let bytes = vec![7; 3 * HOLD_BACK as usize];
    let mut ingest = store.ingest(sha512(&bytes), None).expect("an ingest");
    let mut reader = ingest.content(Some(bytes.len() as u64)).reader(0..u64::MAX);
    ingest.write(&bytes.clone().into()).expect("written");
    let mut received = reader.chunk().await.expect("bytes").expect("some").to_vec();
    assert_eq!(received.len(), 2 * HOLD_BACK as usize);
    assert!(store.blob(&sha512(&bytes)).expect("no error").is_none(), "visible before it is verified");
    ingest.commit().expect("the right digest");
    while let Some(chunk) = reader.chunk().await.expect("bytes") {
        received.extend_from_slice(&chunk);
    }
    assert_eq!(received, bytes);
    assert!(store.blob(&sha512(&bytes)).expect("no error").is_some());
}

#[test]
fn a_content_has_its_mark_as_soon_as_it_is_there() {
    let (dir, store) = store();
    let target =
        |name: &str| Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") };
    store.mark_private(&target("a/private")).expect("marked");
    for (name, mode) in [("a/public", 0o644), ("a/private", 0o600)] {
        let digest = sha512(name.as_bytes());
        let mut ingest = store.ingest(digest, None).expect("an ingest");
        ingest.write(&name.as_bytes().to_vec().into()).expect("written");
        store.link_ingest(&target(name), &mut ingest);
        // A kill can come right after this.
        ingest.commit().expect("the right digest");
        let file = dir.path().join("blobs/sha512").join(digest.hex());
        let found = std::fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_content_leaves_nothing_and_fails_its_readers() {
    let (dir, store) = store();
    let expected = sha512(b"right");
    let mut ingest = store.ingest(expected, None).expect("an ingest");
    let mut content = ingest.content(None);
    ingest.write(&b"wrong".as_slice().into()).expect("written");
    assert!(matches!(ingest.commit(), Err(Error::DigestMismatch { .. })));
    assert!(matches!(content.settled().await, Err(ReadError::Failed)));
    assert!(matches!(content.reader(0..5).chunk().await, Err(ReadError::Failed)));
    assert!(store.blob(&expected).expect("no error").is_none());
    assert_eq!(std::fs::read_dir(dir.path().join("ingest")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_writer_that_goes_away_is_a_failure_and_never_an_end() {
    let (dir, store) = store();
    let mut ingest = store.ingest(sha512(b"x"), None).expect("an ingest");
    let mut reader = ingest.content(Some(1 << 20)).reader(0..u64::MAX);
    ingest.write(&vec![0; 1000].into()).expect("written");
    drop(ingest);
    assert!(matches!(reader.chunk().await, Err(ReadError::Failed)));
    assert_eq!(std::fs::read_dir(dir.path().join("ingest")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_writer_that_gives_up_tells_its_readers_why() {
    let (_dir, store) = store();
    let mut ingest = store.ingest(sha512(b"x"), None).expect("an ingest");
    let mut content = ingest.content(Some(1 << 20));
    ingest.write(&vec![0; 1000].into()).expect("written");
    let aborter = ingest.aborter();
    drop(ingest);
    aborter.abort(std::io::Error::other("the first reason"));
    aborter.abort(std::io::Error::other("another one"));
    let Err(ReadError::Aborted(reason)) = content.settled().await else { panic!("not aborted") };
    assert_eq!((reason.to_string().as_str(), content.available()), ("the first reason", 1000));
}

#[tokio::test]
async fn what_a_writer_wrote_before_it_gave_up_can_be_read() {
    let (_dir, store) = store();
    let mut ingest = store.ingest(sha512(b"x"), None).expect("an ingest");
    let mut reader = ingest.content(Some(1 << 20)).reader(0..u64::MAX);
    ingest.write(&vec![0; 2 * HOLD_BACK as usize].into()).expect("written");
    ingest.aborter().abort(std::io::Error::other("broken"));
    assert_eq!(reader.chunk().await.expect("bytes").expect("some").len() as u64, HOLD_BACK);
    assert!(matches!(reader.chunk().await, Err(ReadError::Aborted(_))));
}

#[tokio::test]
async fn a_file_that_is_cut_under_a_reader_is_an_error() {
    let (dir, store) = store();
    let bytes = vec![1; 1 << 20];
    let digest = sha512(&bytes);
    let mut ingest = store.ingest(digest, None).expect("an ingest");
    ingest.write(&bytes.clone().into()).expect("written");
    let content = ingest.commit().expect("committed");
    let path = dir.path().join("blobs/sha512").join(digest.hex());
    std::fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(1000)).expect("cut");
    let mut reader = content.reader(0..u64::MAX);
    assert_eq!(reader.chunk().await.expect("what is there").expect("some").len(), 1000);
    assert!(matches!(reader.chunk().await, Err(ReadError::Truncated { at: 1000, .. })));
}

#[tokio::test]
async fn pieces_in_any_order_are_hashed_in_order_and_shown_without_a_gap() {
    let (_dir, store) = store();
    let bytes: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = sha512(&bytes);
    let mut ingest = store.ingest(digest, Some(bytes.len() as u64)).expect("an ingest");
    let content = ingest.content(Some(bytes.len() as u64));
    let mut put = |from: usize, to: usize| {
        ingest.write_at(from as u64, &[bytes[from..to].to_vec().into()]).expect("written");
        content.available() as usize
    };
    assert_eq!(put(0, 10000), 10000);
    assert_eq!(put(5000000, 6000000), 10000);
    assert_eq!(put(6000000, 8000000), 10000);
    assert_eq!(put(2000000, 3000000), 10000);
    assert_eq!(put(10000, 2000000), 3000000);
    assert_eq!(put(4000000, 5000000), 3000000);
    assert_eq!(put(3000000, 4000000), 8000000);
    ingest.commit().expect("the right digest");
    assert!(store.blob(&digest).expect("no error").is_some());
}

/// Stores the manifest of docker.io/library/x:TAG, which names the content that is returned.
fn put_image(store: &Store) -> Digest {
    let layer = Digest::of(Algorithm::Sha256, b"layer");
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "config": {"mediaType": "a/b", "digest": layer, "size": 5}, "layers": []});
    let bytes = bytes::Bytes::from(text.to_string());
    let manifest = hubcap_oci::Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
    let target =
        Target { registry: Registry::docker_hub(), repository: "library/x".parse().expect("a name") };
    let tag = "TAG".parse().expect("a tag");
    store.put_manifest(&target, &manifest.expect("one"), &bytes, Some(&tag)).expect("stored");
    layer
}

/// How much processor time this thread has used. Unlike the time on the wall it does not grow with what else the machine does.
fn worked() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::try_from(time).expect("a time after the thread's start")
}

/// How much processor time it takes to take so many names of one image out of an archive's `index.json`.
fn work_for(names: usize) -> std::time::Duration {
    let (dir, store) = store();
    put_image(&store);
    let text = std::fs::read_to_string(dir.path().join("index.json")).expect("read");
    let mut all: serde_json::Value = serde_json::from_str(&text).expect("json");
    let one = all["manifests"][0].to_string();
    let named = (0..names).map(|n| one.replace("TAG", &format!("t{n}")));
    all["manifests"] =
        named.map(|one| serde_json::from_str::<serde_json::Value>(&one).expect("json")).collect();
    let found = serde_json::from_value(all).expect("an index");
    let before = worked();
    store.take_names(&found, &std::collections::HashSet::new()).expect("taken");
    let took = worked() - before;
    let text = std::fs::read_to_string(dir.path().join("index.json")).expect("read");
    assert!(text.contains(&format!("x:t{}\"", names - 1)) || text.contains(&format!("\"t{}\"", names - 1)));
    took
}

#[tokio::test]
async fn names_of_a_large_archive_are_taken_in_linear_time() {
    let (few, many) = (work_for(500), work_for(10_000));
    // Twenty times as many: four hundred times as long, if each was compared with each.
    assert!(many < few * 100, "{few:?} and {many:?}");
}

#[tokio::test]
async fn an_image_of_which_something_is_being_written_does_not_go() {
    let (_dir, store) = store();
    let layer = put_image(&store);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let all = Wanted::Prune(Prune { used_since: Some(later), keep_private: false });
    let going = || store.plan(all).expect("a plan").len();
    assert_eq!(going(), 1);
    let ingest = store.ingest(layer, Some(5)).expect("an ingest");
    assert_eq!(going(), 0);
    drop(ingest);
    assert_eq!(going(), 1);
}

#[tokio::test]
async fn where_there_are_many_contents_more_than_one_goes_at_a_time() {
    let (_dir, store) = with_limit(300_000);
    let put = |number: u32| {
        let bytes = bytes::Bytes::from(number.to_le_bytes().repeat(250));
        let mut ingest = store.ingest(sha512(&bytes), Some(1000)).expect("an ingest");
        ingest.write(&bytes).expect("written");
        ingest.commit().expect("the right digest");
        store.size()
    };
    let sizes: Vec<u64> = (0..400).map(put).collect();
    let passes: Vec<u64> =
        sizes.windows(2).filter(|two| two[1] < two[0]).map(|two| two[0] - two[1]).collect();
    assert!(!passes.is_empty() && passes.len() < 40, "{passes:?}");
    assert!(passes.iter().all(|freed| *freed < 20_000), "and no more than a little: {passes:?}");
}

fn with_limit(bytes: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { max_size: Some(Limit::Bytes(bytes)), min_free: None };
    let store = Store::open(dir.path(), Options { limits, ..Options::default() }).expect("a store");
    (dir, store)
}

/// Stores so many bytes, of this value.
fn put(store: &Store, value: u8, size: usize) -> Digest {
    let bytes = bytes::Bytes::from(vec![value; size]);
    let mut ingest = store.ingest(sha512(&bytes), Some(size as u64)).expect("an ingest");
    ingest.write(&bytes).expect("written");
    ingest.commit().expect("the right digest");
    sha512(&bytes)
}

fn path_of(dir: &tempfile::TempDir, digest: &Digest) -> std::path::PathBuf {
    dir.path().join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

#[tokio::test]
async fn what_somebody_else_writes_into_a_running_ingest_is_no_content() {
    let (dir, store) = store();
    let bytes = vec![7; 4 * HOLD_BACK as usize];
    let mut ingest = store.ingest(sha512(&bytes), Some(bytes.len() as u64)).expect("an ingest");
    let mut content = ingest.content(Some(bytes.len() as u64));
    let half = bytes.len() / 2;
    ingest.write(&bytes[..half].to_vec().into()).expect("written");
    let file = std::fs::read_dir(dir.path().join("ingest")).expect("a directory").next().expect("a file");
    // The clocks of file systems go in steps.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let other = std::fs::OpenOptions::new().write(true).open(file.expect("a file").path()).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&other, b"x", 10).expect("written");
    ingest.write(&bytes[half..].to_vec().into()).expect("written");
    assert!(matches!(ingest.commit(), Err(Error::DigestMismatch { .. })));
    assert!(content.settled().await.is_err());
    assert!(store.blob(&sha512(&bytes)).expect("no error").is_none());
}

#[tokio::test]
async fn a_content_whose_times_were_put_back_after_a_change_is_verified_again() {
    let (dir, store) = store();
    let digest = put(&store, 1, 1000);
    let file = std::fs::OpenOptions::new().write(true).open(path_of(&dir, &digest)).expect("opened");
    let modified = file.metadata().and_then(|metadata| metadata.modified()).expect("a time");
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 10).expect("written");
    file.set_modified(modified).expect("set");
    let mut content = store.blob(&digest).expect("no error").expect("a content");
    assert!(content.settled().await.is_err(), "it is damaged");
}

#[tokio::test]
async fn nothing_goes_for_a_length_before_its_bytes_come() {
    const MIB: u64 = 1 << 20;
    let (_dir, store) = with_limit(64 * MIB);
    let first = put(&store, 1, 20 << 20);
    assert!(matches!(store.ingest(sha512(b"a"), Some(65 * MIB)), Err(Error::NoRoom { .. })), "never");
    let mut one = store.ingest(sha512(b"b"), Some(60 * MIB)).expect("it would fit");
    assert!(store.has(&first));
    assert!(matches!(store.ingest(sha512(b"c"), Some(10 * MIB)), Err(Error::NoRoom { .. })), "not beside it");
    for _ in 0..50 {
        one.write(&vec![0; 1 << 20].into()).expect("room is made");
    }
    assert!(!store.has(&first), "its bytes have come");
    assert!(store.size() == 0);
}

#[tokio::test]
async fn no_image_goes_for_bytes_that_somebody_else_has_removed() {
    let (dir, store) = with_limit(60_000);
    let kept = put(&store, 0, 10_000);
    for _ in 0..8 {
        let lost = put(&store, 1, 10_000);
        std::fs::remove_file(path_of(&dir, &lost)).expect("removed");
        store.quarantine(&lost);
    }
    for value in 2..6 {
        put(&store, value, 10_000);
    }
    assert!(store.has(&kept));
}

#[tokio::test]
async fn contents_of_an_image_whose_manifest_cannot_be_read_are_not_unneeded() {
    let (dir, store) = with_limit(100_000);
    let (target, layer) =
        (Target::new(Registry::docker_hub(), "library/x".parse().expect("a name")), put_image(&store));
    let mut ingest = store.ingest(layer, Some(5)).expect("an ingest");
    ingest.write(&b"layer".as_slice().into()).expect("written");
    ingest.commit().expect("the right digest");
    let tag = store.tag(&target, &"TAG".parse().expect("a tag")).expect("a tag");
    std::fs::write(path_of(&dir, &tag.descriptor.digest), b"cut").expect("written");
    let going = store.plan(Wanted::Limits).expect("a plan");
    assert!(going.iter().all(|one| !one.contents.contains(&layer)), "{going:?}");
}

#[tokio::test]
async fn a_damaged_manifest_is_replaced_when_it_comes_again() {
    let (dir, store) = store();
    put_image(&store);
    let target = Target::new(Registry::docker_hub(), "library/x".parse().expect("a name"));
    let digest = store.tag(&target, &"TAG".parse().expect("a tag")).expect("a tag").descriptor.digest;
    let path = path_of(&dir, &digest);
    let right = std::fs::read(&path).expect("read");
    std::fs::write(&path, b"cut").expect("written");
    put_image(&store);
    assert_eq!(std::fs::read(&path).expect("read"), right);
}

#[tokio::test]
async fn a_store_that_could_not_be_written_is_when_it_can_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let why = Error::Io(std::io::Error::other("the disk is full"));
    let store = Store::open_read_only(dir.path(), Options::default(), &why);
    assert!(matches!(store.ingest(sha512(b"x"), None), Err(Error::ReadOnly { .. })));
    let private = Target::new(Registry::docker_hub(), "a/private".parse().expect("a name"));
    store.mark_private(&private).expect("marked");
    store.flush();
    assert!(store.is_private(&private), "what was found out meanwhile counts");
    put_image(&store);
    store.close();
    let names = std::fs::read_to_string(dir.path().join("index.json")).expect("there");
    assert!(names.contains("library/x:TAG"), "{names}");
}

#[tokio::test]
async fn an_index_json_that_the_disk_did_not_take_is_written_later() {
    let (dir, store) = store();
    put_image(&store);
    let index = dir.path().join("index.json");
    std::fs::remove_file(&index).expect("removed");
    // Nothing can take the place of a directory with something in it.
    std::fs::create_dir(&index).and_then(|()| std::fs::write(index.join("x"), b"")).expect("made");
    let target = Target::new(Registry::docker_hub(), "library/x".parse().expect("a name"));
    assert!(store.mark_private(&target).is_err());
    std::fs::remove_dir_all(&index).expect("removed");
    store.flush();
    let names = std::fs::read_to_string(&index).expect("there");
    assert!(names.contains("library/x:TAG") && names.contains("io.hubcap.private"), "{names}");
}

#[tokio::test]
async fn a_file_beside_the_contents_of_an_archive_is_written_nowhere_else() {
    let (dir, store) = store();
    let outside = tempfile::tempdir().expect("a directory");
    let victim = outside.path().join("victim");
    std::os::unix::fs::symlink(&victim, dir.path().join("speed.json")).expect("linked");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    archive.append_data(&mut header, "store/speed.json", b"{}".as_slice()).expect("a member");
    let archive = archive.into_inner().expect("a tar");
    store.restore(archive.as_slice(), &["speed.json"], &|| {}).expect("restored");
    assert!(!victim.exists());
    assert_eq!(std::fs::read(dir.path().join("speed.json")).expect("written"), b"{}");
}

#[tokio::test]
async fn nothing_goes_for_a_length_that_would_not_fit_beside_what_is_being_written() {
    const MIB: u64 = 1 << 20;
    let (_dir, store) = with_limit(64 * MIB);
    let kept = put(&store, 1, 10 << 20);
    // While it is written again, it cannot go.
    let _again = store.ingest(kept, None).expect("an ingest");
    assert!(matches!(store.ingest(sha512(b"a"), Some(60 * MIB)), Err(Error::NoRoom { .. })));
    assert!(store.has(&kept));
    assert!(store.ingest(sha512(b"b"), Some(50 * MIB)).is_ok());
}

/// Keeps a file from being removed, until this is dropped.
struct Kept(std::fs::File);

impl Kept {
    fn new(path: &std::path::Path) -> Self {
        let file = std::fs::File::open(path).expect("there");
        let flags = ioctl_getflags(&file).expect("flags");
        ioctl_setflags(&file, flags | IFlags::IMMUTABLE).expect("for root, on this file system");
        Self(file)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let flags = ioctl_getflags(&self.0).expect("flags");
        ioctl_setflags(&self.0, flags - IFlags::IMMUTABLE).expect("as before");
    }
}

#[tokio::test]
async fn a_content_that_cannot_be_removed_is_passed_over() {
    let (dir, store) = with_limit(4 << 20);
    let [first, second] = [1, 2].map(|value| put(&store, value, 1 << 20));
    let kept = Kept::new(&path_of(&dir, &first));
    let third = put(&store, 3, 2 << 20);
    assert!(store.has(&first) && !store.has(&second) && store.has(&third), "the next one goes in its place");
    let all = [Kept::new(&path_of(&dir, &third)), kept];
    let mut ingest = store.ingest(sha512(b"more"), Some(2 << 20)).expect("an ingest");
    let refused = ingest.write(&vec![4; 2 << 20].into());
    assert!(matches!(refused, Err(Error::NoRoom { .. })), "{refused:?}");
    let refused = store.ingest(sha512(b"more"), Some(2 << 20));
    assert!(refused.is_err(), "it is known by now that nothing goes");
    drop(all);
    assert!(store.evict(Wanted::Limits).is_ok());
}

#[tokio::test]
async fn what_is_in_quarantine_makes_room() {
    let (_dir, store) = with_limit(4 << 20);
    let damaged = put(&store, 1, 3 << 20);
    store.quarantine(&damaged);
    let next = put(&store, 2, 3 << 20);
    assert!(store.has(&next));
}

#[tokio::test]
async fn a_store_that_only_names_make_too_large_is_made_smaller() {
    const LIMIT: u64 = 1200 << 10;
    let (_dir, store) = with_limit(LIMIT);
    let bytes = br#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#;
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let manifest = hubcap_oci::Manifest::parse(digest, bytes, Some(hubcap_oci::media_type::OCI_MANIFEST));
    let manifest = manifest.expect("a manifest");
    for number in 0..500 {
        let target = Target {
            registry: Registry::docker_hub(),
            repository: format!("{}/r{number}", "long".repeat(30)).parse().expect("a name"),
        };
        let tag = "t".parse().expect("a tag");
        store.put_manifest(&target, &manifest, &bytes.to_vec().into(), Some(&tag)).expect("stored");
    }
    let names = || store.0.catalog.images.lock().expect("not poisoned").entries().count();
    assert_eq!(names(), 500);
    store.keep_size().expect("kept");
    let stored = store.size() + store.0.catalog.layout.size_of_indexes();
    assert!(stored <= LIMIT && names() > 0, "{stored} bytes, {} names", names());
}

#[tokio::test]
async fn what_is_promised_to_others_is_not_free_before_the_disk_gives_it() {
    let (dir, store) = store();
    let mut ingest = store.ingest(sha512(b"x"), None).expect("an ingest");
    ingest.write(&vec![1; 1000].into()).expect("written");
    let partial =
        std::fs::read_dir(dir.path().join("ingest")).expect("there").next().expect("one").expect("read");
    let metadata = partial.metadata().expect("there");
    let taken = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    assert!(taken >= 16 << 20, "{taken} bytes are taken");
}

#[tokio::test]
async fn a_step_of_an_ingest_takes_what_is_free_and_nothing_more_goes_for_it_than_has_come() {
    let (_dir, store) = with_limit(12 << 20);
    let kept: Vec<Digest> = (1..=10).map(|value| put(&store, value, 1 << 20)).collect();
    for size in [None, Some(8 << 20)] {
        let mut ingest = store.ingest(sha512(b"never"), size).expect("an ingest");
        if let Some(size) = size {
            ingest.allocate(size).expect("it would fit");
        }
        ingest.write(&vec![1].into()).expect("written");
        let left = kept.iter().filter(|digest| store.has(digest)).count();
        assert!(left >= 9, "{left} are left for one byte of {size:?}");
    }
}

#[tokio::test]
async fn a_store_in_the_place_of_ours_gives_nobody_what_comes_later() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let target =
        |name: &str| Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") };
    let digest = sha512(&vec![1; 1000]);
    // Whoever wrote this one says that it has what is not there.
    let forged = Store::open(other.path(), Options::default()).expect("a store");
    put(&forged, 1, 1000);
    forged.link(&target("evil/x"), &digest);
    forged.close();
    drop(forged);
    std::fs::remove_file(path_of(&other, &digest)).expect("removed");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    std::fs::rename(dir.path(), dir.path().with_extension("old")).expect("moved");
    std::fs::rename(other.path(), dir.path()).expect("moved");
    store.flush();
    store.mark_private(&target("a/private")).expect("marked");
    assert_eq!(put(&store, 1, 1000), digest);
    store.link(&target("a/private"), &digest);
    assert!(store.is_linked(&target("a/private"), &digest));
    assert!(!store.is_linked(&target("evil/x"), &digest));
    std::fs::remove_dir_all(dir.path().with_extension("old")).expect("removed");
}

#[test]
fn what_names_a_kill_leaves_in_the_index_go_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let target = Target { registry: Registry::docker_hub(), repository: "a/b".parse().expect("a name") };
    let named: Vec<Digest> = (0..100_u32).map(|number| sha512(&number.to_be_bytes())).collect();
    {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.0.catalog.index.link(&target, &named);
        store.flush();
    }
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert_eq!(store.0.catalog.index.linked(&target), []);
}

#[test]
fn names_that_only_the_index_has_are_in_index_json_again() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        put_image(&store);
        store.close();
    }
    std::fs::remove_file(dir.path().join("index.json")).expect("removed");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert!(store.evict(Wanted::Limits).expect("looked at").is_empty());
    let names: Vec<String> = store.used_since(std::time::UNIX_EPOCH).into_iter().collect();
    assert_eq!(names, ["docker.io/library/x:TAG"]);
}

#[test]
fn modes_that_somebody_has_widened_make_nothing_public() {
    let dir = tempfile::tempdir().expect("a directory");
    let target =
        |name: &str| Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") };
    let (private, named, given) = (target("a/private"), target("a/names"), target("a/public"));
    let [secret, shared] = {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.mark_private(&private).expect("marked");
        let [secret, shared] = [1, 2].map(|value| put(&store, value, 1000));
        store.link(&private, &secret);
        store.link(&private, &shared);
        store.link(&given, &shared);
        store.0.catalog.index.link(&named, &[secret]);
        store.close();
        for digest in [secret, shared] {
            let widened = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(path_of(&dir, &digest), widened).expect("widened");
        }
        [secret, shared]
    };
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    let mode = |digest| std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(&shared)), (0o600, 0o644));
    assert!(store.is_linked(&private, &secret) && !store.is_linked(&named, &secret));
}

/// Bytes of which no two pieces are the same.
fn counted(size: usize) -> bytes::Bytes {
    (0_u32..).flat_map(u32::to_le_bytes).take(size).collect::<Vec<_>>().into()
}

fn put_counted(store: &Store, size: usize) -> Digest {
    let bytes = counted(size);
    let mut ingest = store.ingest(sha512(&bytes), Some(size as u64)).expect("an ingest");
    ingest.write(&bytes).expect("written");
    ingest.commit().expect("the right digest");
    sha512(&bytes)
}

/// What another program does to a file in place.
fn overwrite(path: &std::path::Path, bytes: &[u8], at: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).expect("written");
}

async fn rest(reader: &mut Reader) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What begins with one chunk, which may be all of it.
const SIZES: [usize; 5] = [40_000, 63 << 10, 2 * (63 << 10), (63 << 10) + 1, 1 << 20];

#[tokio::test]
async fn a_content_that_is_overwritten_while_it_is_read_is_never_read_to_its_end() {
    for size in SIZES {
        for range in [0..u64::MAX, 0..size as u64 - 1, 17..size as u64 / 2] {
            for is_after_restart in [false, true] {
                let (dir, store) = store();
                let digest = put_counted(&store, size);
                if is_after_restart {
                    store.catalog().verified.forget_all();
                }
                let mut content = store.blob(&digest).expect("no error").expect("a content");
                content.settled().await.expect("it is right");
                let mut reader = content.reader(range.clone());
                if size > 2 * (63 << 10) {
                    reader.chunk().await.expect("bytes").expect("some");
                }
                overwrite(&path_of(&dir, &digest), b"wrong", size as u64 / 4);
                let read = rest(&mut reader).await;
                assert!(matches!(read, Err(ReadError::Changed)), "{size}, {range:?}: {read:?}");
                // Nor is the rest taken from elsewhere, after what may have been wrong.
                let hashed = content.hashed(&digest, 100).await;
                assert!(matches!(hashed, Err(ReadError::Changed)), "{size}, {range:?}");
                let mut again = store.blob(&digest).expect("no error").expect("a content");
                assert!(again.settled().await.is_err(), "it is damaged");
            }
        }
    }
}

#[tokio::test]
async fn a_content_that_is_overwritten_after_its_commit_is_not_read_to_its_end_by_who_follows() {
    for size in SIZES {
        let (dir, store) = store();
        let bytes = counted(size);
        let mut ingest = store.ingest(sha512(&bytes), Some(size as u64)).expect("an ingest");
        let mut whole = ingest.content(None).reader(0..u64::MAX);
        let mut range = ingest.content(Some(size as u64)).reader(10..size as u64 - 5);
        ingest.write(&bytes).expect("written");
        whole.chunk().await.expect("bytes").expect("some");
        let committed = ingest.commit().expect("the right digest");
        // At once: within one step of the file system's clock.
        overwrite(&path_of(&dir, &sha512(&bytes)), b"wrong", size as u64 - 100);
        for reader in [&mut whole, &mut range, &mut committed.reader(0..u64::MAX)] {
            let read = rest(reader).await;
            assert!(matches!(read, Err(ReadError::Changed)), "{size}: {read:?}");
        }
        let mut again = store.blob(&sha512(&bytes)).expect("no error").expect("a content");
        assert!(again.settled().await.is_err(), "it is damaged");
    }
}

#[tokio::test]
async fn who_follows_a_content_that_was_wrong_for_a_while_does_not_read_it_to_its_end() {
    let (dir, store) = store();
    let bytes = counted(1 << 20);
    let mut ingest = store.ingest(sha512(&bytes), Some(bytes.len() as u64)).expect("an ingest");
    let mut reader = ingest.content(Some(bytes.len() as u64)).reader(0..u64::MAX);
    ingest.write(&bytes.slice(..500_000)).expect("written");
    let file = std::fs::read_dir(dir.path().join("ingest")).expect("a directory").next().expect("a file");
    let path = file.expect("a file").path();
    // The clocks of file systems go in steps.
    std::thread::sleep(std::time::Duration::from_millis(20));
    overwrite(&path, b"wrong", 10);
    overwrite(&path, &bytes[10..15], 10);
    ingest.write(&bytes.slice(500_000..)).expect("written");
    let committed = ingest.commit().expect("the right digest");
    assert!(matches!(rest(&mut reader).await, Err(ReadError::Changed)), "nobody knows what it has read");
    assert_eq!(rest(&mut committed.reader(0..u64::MAX)).await.expect("read"), bytes);
    let content = store.blob(&sha512(&bytes)).expect("no error").expect("a content");
    assert_eq!(rest(&mut content.reader(0..u64::MAX)).await.expect("read"), bytes);
}

#[tokio::test]
async fn a_content_that_hubcap_marks_links_replaces_or_removes_is_read_to_its_end() {
    for is_after_restart in [false, true] {
        let (dir, store) = store();
        let bytes = counted(1 << 20);
        let mut ingest = store.ingest(sha512(&bytes), None).expect("an ingest");
        let mut following = ingest.content(None).reader(0..u64::MAX);
        ingest.write(&bytes).expect("written");
        let mut followed = following.chunk().await.expect("bytes").expect("some").to_vec();
        let digest = sha512(&bytes);
        ingest.commit().expect("the right digest");
        if is_after_restart {
            store.catalog().verified.forget_all();
        }
        let content = store.blob(&digest).expect("no error").expect("a content");
        let (mut whole, mut range) = (content.reader(0..u64::MAX), content.reader(100..900_000));
        let mut read = whole.chunk().await.expect("bytes").expect("some").to_vec();
        let target = Target::new(Registry::docker_hub(), "library/x".parse().expect("a name"));
        let path = path_of(&dir, &digest);
        std::thread::sleep(std::time::Duration::from_millis(20));
        store.publish(&target, &digest);
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644);
        std::fs::hard_link(&path, dir.path().join("link")).expect("linked");
        put_counted(&store, bytes.len());
        store.catalog().remove(&digest);
        assert!(!store.has(&digest));
        read.extend(rest(&mut whole).await.expect("read"));
        followed.extend(rest(&mut following).await.expect("read"));
        assert!(read == bytes && followed == bytes);
        assert_eq!(rest(&mut range).await.expect("read"), bytes[100..900_000]);
    }
}

#[tokio::test]
async fn an_empty_content_is_read_to_its_end() {
    let (_dir, store) = store();
    let digest = put(&store, 0, 0);
    for _ in 0..2 {
        let mut content = store.blob(&digest).expect("no error").expect("a content");
        assert_eq!(content.settled().await.expect("it is right"), 0);
        assert!(content.reader(0..u64::MAX).chunk().await.expect("no error").is_none());
        store.catalog().verified.forget_all();
    }
}

#[tokio::test]
async fn a_content_that_is_written_to_while_it_is_verified_is_verified_again() {
    let (dir, store) = store();
    let digest = put_counted(&store, 1 << 20);
    let path = path_of(&dir, &digest);
    let verified = &store.catalog().verified;
    verified.forget_all();
    let file = std::fs::File::open(&path).expect("opened");
    let before = file.metadata().expect("there");
    std::thread::sleep(std::time::Duration::from_millis(20));
    overwrite(&path, &counted(10), 0);
    let mut content = verified.content(&digest, file, before, || panic!("what is there now is right"));
    assert!(matches!(content.settled().await, Err(ReadError::Failed)), "it may have been read in between");
    let mut again = store.blob(&digest).expect("no error").expect("a content");
    assert_eq!(again.settled().await.expect("it is right"), 1 << 20);
    assert_eq!(rest(&mut again.reader(0..u64::MAX)).await.expect("read"), counted(1 << 20));
}

#[test]
fn directories_that_go_while_hubcap_runs_are_made_anew() {
    let (dir, store) = store();
    for gone in ["ingest", "blobs", "quarantine"] {
        std::fs::remove_dir_all(dir.path().join(gone)).expect("removed");
        assert!(store.has(&put(&store, 1, 1000)), "{gone}");
    }
    let digest = sha512(&vec![2; 1000]);
    std::fs::create_dir(path_of(&dir, &digest)).expect("made");
    assert!(store.has(&put(&store, 2, 1000)), "a directory in the place of a content");
}

/// A manifest with this content as its only layer.
fn manifest_of(layer: &Digest) -> (hubcap_oci::Manifest, bytes::Bytes) {
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "layers": [{"mediaType": "a/b", "digest": layer, "size": 5}]});
    let bytes = bytes::Bytes::from(text.to_string());
    let manifest = hubcap_oci::Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
    (manifest.expect("a manifest"), bytes)
}

#[test]
fn a_kill_gives_no_imported_image_what_another_one_brought() {
    let dir = tempfile::tempdir().expect("a directory");
    let target =
        |name: &str| Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") };
    let (company, evil) = (target("company/secret"), target("evil/x"));
    let layer = {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        let layer = put(&store, 1, 1000);
        store.link_imported(&company, &layer, true);
        let (manifest, bytes) = manifest_of(&layer);
        for target in [&company, &evil] {
            let readers = crate::permissions::Readers::Local;
            store.put_manifest_for(target, &manifest, &bytes, None, readers).expect("stored");
        }
        store.flush();
        layer
    };
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert!(store.is_linked(&company, &layer) && !store.is_linked(&evil, &layer));
}

#[test]
fn what_was_imported_for_a_repository_is_not_public_with_it() {
    let (dir, store) = store();
    let target =
        |name: &str| Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") };
    let (private, app) = (target("org/private"), target("me/app"));
    store.mark_private(&private).expect("marked");
    let [secret, own] = [1, 2].map(|value| put(&store, value, 1000));
    store.link(&private, &secret);
    store.mark_private(&app).expect("marked");
    store.link_imported(&app, &secret, false);
    store.link(&app, &own);
    store.mark_public(&app).expect("marked");
    let mode = |digest| std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(&own)), (0o600, 0o644));
}
