use std::os::unix::fs::PermissionsExt as _;

use hubcap_oci::{Algorithm, Digest, Registry, Target};

use crate::{Error, HOLD_BACK, Limit, Limits, Options, Prune, ReadError, Store, Wanted};

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
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { max_size: Some(Limit::Bytes(300_000)), min_free: None };
    let store = Store::open(dir.path(), Options { limits, ..Options::default() }).expect("a store");
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
