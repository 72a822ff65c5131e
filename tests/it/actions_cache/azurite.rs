//! The same with a real blob store behind the service: block lists, ranges, and signatures that run out.

use hubcap_upstream::Error;
use hubcap_upstream::actions_cache::{Error as CacheError, Uploaded};

use super::upload::put;
use super::{MIB, content, fetched, of_main};
use crate::support::actions_cache::ActionsCache as Stand;
use crate::support::actions_cache::azurite::Azurite;
use crate::support::noise;

#[tokio::test(flavor = "multi_thread")]
async fn azures_blob_store_takes_the_blocks_and_gives_their_ranges() {
    let azurite = Azurite::start().await;
    let stand = Stand::start_on(&azurite);
    let (cache, bytes) = (of_main(&stand), noise(33 * MIB, 1));
    assert_eq!(put(&cache, &bytes).await, Ok(Uploaded::Saved));
    let found = async || cache.find(&content(&bytes)).await.expect("an answer").expect("an entry");

    let entry = found().await;
    assert_eq!(entry.read(0..100).await.expect("bytes"), bytes[..100]);
    assert_eq!(entry.size(), Some(bytes.len() as u64));
    let border = 16 * MIB - 5..16 * MIB + 5;
    let over_it = entry.file(Some(border.start as u64..border.end as u64), None);
    assert_eq!(fetched(over_it).await.expect("bytes"), bytes[border]);
    let end = bytes.len() as u64;
    assert_eq!(entry.read(end - 3..end + 100).await.expect("bytes"), bytes[bytes.len() - 3..]);
    assert!(entry.read(end..end + 1).await.is_err());
    assert!(fetched(entry.file(None, None)).await.expect("bytes") == bytes);

    assert_eq!(put(&cache, b"one request").await, Ok(Uploaded::Saved));
    let short = cache.find(&content(b"one request")).await.expect("an answer").expect("an entry");
    assert_eq!(fetched(short.file(None, None)).await.expect("bytes"), "one request");

    stand.run_out(1);
    let entry = found().await;
    let before = stand.count("GetCacheEntryDownloadURL");
    assert_eq!(entry.read(5..10).await.expect("bytes"), bytes[5..10], "by the URL of another look-up");
    assert_eq!(stand.count("GetCacheEntryDownloadURL"), before + 1);

    stand.run_out(2);
    let entry = found().await;
    assert_eq!(entry.read(5..10).await, Err(Error::Denied { status: 403 }), "one more look-up is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_url_has_run_out_is_given_up_at_once() {
    let azurite = Azurite::start().await;
    let stand = Stand::start_on(&azurite);
    stand.run_out(1);
    // Long ones, of which Azure need not read much before it refuses them.
    assert_eq!(put(&of_main(&stand), &noise(33 * MIB, 1)).await, Err(CacheError::UploadExpired));
}
