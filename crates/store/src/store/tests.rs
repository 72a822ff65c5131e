mod changed;
mod owners;
mod room;

use std::os::unix::fs::PermissionsExt as _;

use hubcap_oci::{Algorithm, Digest, Registry, Target};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::{Error, HOLD_BACK, Limit, Limits, Options, Prune, ReadError, Store, Wanted};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    (dir, store)
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
