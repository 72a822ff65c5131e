//! Contents that another program writes to while they are read.

use std::os::unix::fs::PermissionsExt as _;

use hubcap_oci::{Digest, Registry, Target};

use super::{path_of, put, sha512, store};
use crate::{ReadError, Reader, Store};

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
