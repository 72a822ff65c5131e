//! What is uploaded, and what keeps an upload from its end.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Digest};
use hubcap_upstream::actions_cache::{ActionsCache, EntryKey, Error, Uploaded};
use tokio::sync::watch;

use super::{MIB, content, fetched, named, of_main, of_pull};
use crate::support::actions_cache::{ActionsCache as Stand, MAIN};
use crate::support::{eventually, noise};

/// A little longer than a URL may be written to.
const HOUR: Duration = Duration::from_secs(3601);

/// For an upload that nothing holds back.
pub(super) fn never_paused() -> watch::Receiver<bool> {
    watch::channel(false).1
}

/// Gives a content by range.
fn reader(bytes: &Bytes) -> impl Fn(Range<u64>) -> io::Result<Bytes> + Clone + Send + Sync + 'static + use<> {
    let bytes = bytes.clone();
    move |range| Ok(bytes.slice(range.start as usize..range.end as usize))
}

/// Uploads a content under its digest.
pub(super) async fn put(cache: &ActionsCache, bytes: &[u8]) -> Result<Uploaded, Error> {
    let key = content(bytes);
    let bytes = Bytes::copy_from_slice(bytes);
    cache.upload(&key, bytes.len() as u64, reader(&bytes), never_paused()).await
}

#[tokio::test]
async fn what_one_job_uploads_in_blocks_another_one_finds() {
    let stand = Stand::start();
    let bytes = noise(33 * MIB, 1);
    assert_eq!(put(&of_main(&stand), &bytes).await, Ok(Uploaded::Saved));
    assert_eq!(stand.count("PUT block"), 5);
    assert!(stand.bytes(content(&bytes).key()).expect("an entry") == bytes);
    let entry = of_pull(&stand).find(&content(&bytes)).await.expect("an answer").expect("an entry");
    assert!(fetched(entry.file(None, None)).await.expect("bytes") == bytes);
}

#[tokio::test]
async fn what_a_pull_request_uploads_is_its_own() {
    let stand = Stand::start();
    assert_eq!(put(&of_pull(&stand), b"it").await, Ok(Uploaded::Saved));
    assert!(of_pull(&stand).find(&content(b"it")).await.expect("an answer").is_some());
    assert!(of_main(&stand).find(&content(b"it")).await.expect("an answer").is_none());
    assert_eq!(put(&of_main(&stand), b"it").await, Ok(Uploaded::Saved));
}

#[tokio::test]
async fn an_empty_content_is_not_offered() {
    let stand = Stand::start();
    assert_eq!(put(&of_main(&stand), b"").await, Err(Error::Empty));
    assert!(stand.log().is_empty());
}

#[tokio::test]
async fn an_entry_that_is_there_is_not_uploaded_again() {
    let stand = Stand::start();
    stand.put(MAIN, named(&content(b"it")), "it");
    assert_eq!(put(&of_main(&stand), b"it").await, Ok(Uploaded::Exists));
    assert_eq!(stand.count("PUT") + stand.count("PUT block"), 0);
}

#[tokio::test]
async fn past_a_reservation_without_an_end_the_next_slot_is_free() {
    let stand = Stand::start();
    let digest = Digest::of(Algorithm::Sha256, b"it");
    stand.reserve(MAIN, named(&EntryKey::content(&digest, 0)));
    let cache = of_main(&stand);
    assert_eq!(put(&cache, b"it").await, Ok(Uploaded::Reserved));
    let next = EntryKey::content(&digest, 1);
    let uploaded = cache.upload(&next, 2, |_| Ok(Bytes::from_static(b"it")), never_paused()).await;
    assert_eq!(uploaded, Ok(Uploaded::Saved));
    assert!(cache.find(&next).await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_key_that_is_taken_may_exist_where_nothing_can_be_looked_up() {
    let stand = Stand::start();
    stand.reserve(MAIN, named(&content(b"it")));
    stand.refuse("GetCacheEntryDownloadURL", 1, 60);
    assert_eq!(put(&of_main(&stand), b"it").await, Ok(Uploaded::Exists));
}

#[tokio::test]
async fn a_block_that_fails_is_sent_again() {
    let stand = Stand::start();
    stand.fail(&[500, 503]);
    assert_eq!(put(&of_main(&stand), &noise(9 * MIB, 3)).await, Ok(Uploaded::Saved));
    assert_eq!((stand.count("PUT block"), stand.count("CreateCacheEntry")), (4, 1));
}

#[tokio::test]
async fn what_is_no_longer_than_a_block_is_sent_by_one_request_and_again_if_that_fails() {
    let stand = Stand::start();
    let (cache, bytes) = (of_main(&stand), noise(8 * MIB, 4));
    assert_eq!(put(&cache, &bytes).await, Ok(Uploaded::Saved));
    let asked: Vec<_> = stand.log().into_iter().map(|asked| asked.what).collect();
    assert_eq!(asked, ["CreateCacheEntry", "PUT", "FinalizeCacheEntryUpload"]);
    assert!(stand.bytes(content(&bytes).key()).expect("an entry") == bytes);
    stand.fail(&[500, 503]);
    assert_eq!(put(&cache, b"it").await, Ok(Uploaded::Saved));
    assert_eq!((stand.count("PUT"), stand.count("CreateCacheEntry")), (4, 2));
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_its_url_is_given_up() {
    let stand = Arc::new(Stand::start());
    let (late, key) = (Arc::clone(&stand), content(b"large"));
    let read = move |range: Range<u64>| {
        if range.start > 0 {
            late.advance(HOUR);
        }
        Ok(Bytes::from(vec![0; (range.end - range.start) as usize]))
    };
    let cache = of_main(&stand);
    let given_up = cache.upload(&key, 17 * MIB as u64, read, never_paused()).await;
    assert_eq!(given_up, Err(Error::UploadExpired));
    assert_eq!(stand.count("FinalizeCacheEntryUpload"), 0);
    assert_eq!(put(&cache, b"large").await, Ok(Uploaded::Reserved), "its key is lost");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_saved() {
    let stand = Stand::start();
    let cache = of_main(&stand);
    let error = |_| Err(io::Error::other("the file has gone"));
    let refused = cache.upload(&content(b"it"), 2, error, never_paused()).await.expect_err("refused");
    assert_eq!(refused.to_string(), "the content cannot be read for its upload: the file has gone");
    let short = |_| Ok(Bytes::from_static(b"i"));
    let refused = cache.upload(&content(b"at"), 2, short, never_paused()).await.expect_err("refused");
    assert_eq!(refused.to_string(), "the content cannot be read for its upload: 1 bytes came instead of 2");
    assert!(stand.saved().is_empty());
}

#[tokio::test]
async fn how_long_an_upload_takes_is_told_by_the_blocks_before() {
    let stand = Stand::start();
    let cache = of_main(&stand);
    let (none, second) = (Duration::ZERO, Duration::from_secs(1));
    assert_eq!((cache.upload_takes(0), cache.upload_takes(50_000_000)), (none, second));
    stand.take_in_blocks(second);
    let bytes = noise(17 * 8 * MIB, 2);
    let uploading = {
        let (cache, bytes) = (cache.clone(), bytes.clone());
        tokio::spawn(async move { put(&cache, &bytes).await })
    };
    eventually("some blocks were sent", || stand.count("PUT block") > 0).await;
    // Eight blocks a second at most, and nine are left.
    eventually("that is known", || cache.upload_takes(0) >= second).await;
    assert!(cache.upload_takes(64 * MIB as u64) > second);
    uploading.abort();
    eventually("what was broken off is not sent", || cache.upload_takes(0) == none).await;
}

#[tokio::test]
async fn an_upload_waits_while_it_is_held_back() {
    let stand = Stand::start();
    let (hold, held) = watch::channel(true);
    let (cache, key) = (of_main(&stand), content(b"it"));
    let uploading = {
        let (cache, key) = (cache.clone(), key.clone());
        tokio::spawn(async move { cache.upload(&key, 2, |_| Ok("it".into()), held).await })
    };
    for _ in 0..20 {
        assert!(cache.find(&key).await.expect("an answer").is_none());
    }
    assert_eq!(stand.count("CreateCacheEntry"), 0);
    hold.send_replace(false);
    eventually("saved", || !stand.saved().is_empty()).await;
    assert_eq!(uploading.await.expect("no panic"), Ok(Uploaded::Saved));
}

#[tokio::test]
async fn an_upload_is_held_back_between_its_blocks() {
    let stand = Stand::start();
    let (hold, held) = watch::channel(false);
    let (hold, reads) = (Arc::new(hold), Arc::new(AtomicUsize::new(0)));
    let (holding, reading) = (Arc::clone(&hold), Arc::clone(&reads));
    // When the first block is read, somebody begins to pull.
    let read = move |range: Range<u64>| {
        holding.send_replace(true);
        reading.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from(vec![0; (range.end - range.start) as usize]))
    };
    let (cache, key) = (of_main(&stand), content(b"large"));
    let uploading = {
        let (cache, key) = (cache.clone(), key.clone());
        tokio::spawn(async move { cache.upload(&key, 17 * 8 * MIB as u64, read, held).await })
    };
    let reads = || reads.load(Ordering::SeqCst);
    eventually("what was read is sent", || reads() > 0 && stand.count("PUT block") == reads()).await;
    for _ in 0..20 {
        assert!(cache.find(&key).await.expect("an answer").is_none());
    }
    assert!(reads() <= 8, "only what was on its way over the eight connections is sent: {}", reads());
    eventually("saved", || {
        hold.send_replace(false);
        !stand.saved().is_empty()
    })
    .await;
    assert_eq!(uploading.await.expect("no panic"), Ok(Uploaded::Saved));
}
