use hubcap_oci::{Algorithm, Digest};

use crate::{Error, HOLD_BACK, Options, Prune, ReadError, Store, Wanted};

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

#[tokio::test]
async fn an_image_of_which_something_is_being_written_does_not_go() {
    let (_dir, store) = store();
    let layer = Digest::of(Algorithm::Sha256, b"layer");
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "config": {"mediaType": "a/b", "digest": layer, "size": 5}, "layers": []});
    let bytes = bytes::Bytes::from(text.to_string());
    let manifest = hubcap_oci::Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
    let target = hubcap_oci::Target {
        registry: hubcap_oci::Registry::docker_hub(),
        repository: "library/x".parse().expect("a name"),
    };
    let tag = "1".parse().expect("a tag");
    store.put_manifest(&target, &manifest.expect("one"), &bytes, Some(&tag)).expect("stored");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let all = Wanted::Prune(Prune { used_since: Some(later), keep_private: false });
    let going = || store.plan(all).expect("a plan").len();
    assert_eq!(going(), 1);
    let ingest = store.ingest(layer, Some(5)).expect("an ingest");
    assert_eq!(going(), 0);
    drop(ingest);
    assert_eq!(going(), 1);
}
