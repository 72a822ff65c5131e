//! The client of GitHub's Actions cache beside a service that has all of its limits: what is found and read.

mod azurite;
mod limits;
mod secrets;
mod upload;
mod wrong;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hubcap_oci::{Algorithm, Digest};
use hubcap_upstream::actions_cache::{ActionsCache, CacheFile, Denial, EntryKey, Mode, Service, Token};
use hubcap_upstream::{Config, Error, Fetch, Piece, Source as _, Upstreams};
use tokio::sync::mpsc;

use crate::support::actions_cache::{ActionsCache as Stand, BOTH, MAIN, READ};
use crate::support::noise;

const MIB: usize = 1 << 20;
/// A little longer than a URL may be read from.
const TEN_MINUTES: Duration = Duration::from_secs(601);
const PULL: &str = "refs/pull/7/merge";

/// The cache as a job with this token has it.
fn with_token(url: &str, token: impl Into<String>, mode: Mode) -> ActionsCache {
    let config = Config { upstreams: Vec::new(), allowed: Vec::new(), timeout: Duration::from_secs(30) };
    let results_url = format!("{url}/").parse().expect("a URL");
    let service = Service { results_url, token: Token::new(token), mode };
    Upstreams::new(config).expect("a configuration").actions_cache(service)
}

/// The cache as a job of the default branch has it.
fn of_main(stand: &Stand) -> ActionsCache {
    with_token(&stand.url, Stand::token(&[(MAIN, BOTH)]), Mode::Write)
}

/// The cache as a job of a pull request has it.
fn of_pull(stand: &Stand) -> ActionsCache {
    with_token(&stand.url, Stand::token(&[(MAIN, READ), (PULL, BOTH)]), Mode::Write)
}

fn named(key: &EntryKey) -> (&str, &str) {
    (key.key(), key.version())
}

fn content(bytes: &[u8]) -> EntryKey {
    EntryKey::content(&Digest::of(Algorithm::Sha256, bytes), 0)
}

/// A content, over as many connections as break.
async fn fetched(file: CacheFile) -> Result<Bytes, Error> {
    rest(&mut Fetch::begin(file, 0).await?).await
}

async fn rest(fetch: &mut Fetch<CacheFile>) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = fetch.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

#[tokio::test]
async fn an_entry_is_found_by_its_own_key_alone() {
    let stand = Stand::start();
    let (key, longer) = (EntryKey::pack("store@1"), EntryKey::pack("store@12"));
    stand.put(MAIN, named(&longer), "longer");
    let cache = of_main(&stand);
    assert!(cache.find(&key).await.expect("an answer").is_none());
    stand.put(MAIN, named(&key), "it");
    let entry = cache.find(&key).await.expect("an answer").expect("an entry");
    assert_eq!(entry.matched_key(), "store@1");
    assert_eq!(fetched(entry.file(None, None)).await.expect("bytes"), "it");
}

#[tokio::test]
async fn the_newest_entry_that_begins_so_is_found_in_the_jobs_own_scope_first() {
    let stand = Stand::start();
    let versions = EntryKey::pack("");
    let newest = async |cache: &ActionsCache| {
        let found = cache.find_newest(&["store@", "old@"], versions.version()).await.expect("an answer");
        found.map(|entry| entry.matched_key().to_owned())
    };
    assert_eq!(newest(&of_pull(&stand)).await, None);
    stand.put(MAIN, named(&EntryKey::pack("old@1")), "old");
    assert_eq!(newest(&of_pull(&stand)).await.as_deref(), Some("old@1"));
    for key in ["store@1", "store@2"] {
        stand.put(MAIN, named(&EntryKey::pack(key)), key);
    }
    assert_eq!(newest(&of_pull(&stand)).await.as_deref(), Some("store@2"));
    stand.put(PULL, named(&EntryKey::pack("store@0")), "own");
    assert_eq!(newest(&of_pull(&stand)).await.as_deref(), Some("store@0"));
    assert_eq!(newest(&of_main(&stand)).await.as_deref(), Some("store@2"), "nobody else finds it");
}

#[tokio::test]
async fn a_part_of_an_entry_is_a_content_of_its_own() {
    let stand = Stand::start();
    let (key, bytes) = (EntryKey::pack("store@1"), noise(3 * MIB, 1));
    stand.put(MAIN, named(&key), bytes.clone());
    let entry = of_main(&stand).find(&key).await.expect("an answer").expect("an entry");
    let (start, end) = (MIB as u64 + 7, 2 * MIB as u64);
    let file = entry.file(Some(start..end), None);
    assert_eq!(fetched(file.clone()).await.expect("bytes"), bytes[MIB + 7..2 * MIB]);
    let mut part = file.open_part(10..20).await.expect("a part");
    assert_eq!((part.position, part.size), (10, Some(end - start)));
    assert_eq!(part.chunk().await.expect("bytes").expect("bytes"), bytes[MIB + 17..MIB + 27]);
    assert!(file.open(end - start).await.is_err(), "nothing of what follows is given");
}

#[tokio::test]
async fn a_slow_entry_is_read_over_several_connections() {
    let stand = Stand::start();
    let (key, bytes) = (EntryKey::pack("store@1"), noise(33 * MIB, 1));
    stand.put(MAIN, named(&key), bytes.clone());
    stand.bring(8 * MIB as u64);
    let cache = of_main(&stand);
    let entry = cache.find(&key).await.expect("an answer").expect("an entry");
    let range = MIB..33 * MIB;
    let fetch = Fetch::begin(entry.file(Some(range.start as u64..range.end as u64), None), 0).await;
    let (sender, mut pieces) = mpsc::channel(16);
    let fetching = tokio::spawn(async move { fetch.expect("it begins").stream(&sender).await });
    let mut came = vec![0; range.len()];
    while let Some(piece) = pieces.recv().await {
        if let Piece::Chunk { offset, bytes } = piece {
            came[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
    }
    fetching.await.expect("no panic").expect("to its end");
    assert!(came == bytes[range], "each byte is in its place");
    assert!(stand.count("GET") > 2, "{:?}", stand.log());
    assert!(cache.rate().is_some_and(|rate| rate < 10.0 * MIB as f64), "{:?}", cache.rate());
}

#[tokio::test]
async fn the_beginning_of_an_entry_is_read_with_its_size() {
    let stand = Stand::start();
    let key = EntryKey::pack("store@1");
    stand.put(MAIN, named(&key), "header, and the rest");
    let entry = of_main(&stand).find(&key).await.expect("an answer").expect("an entry");
    assert_eq!(entry.size(), None);
    assert_eq!(entry.read(0..6).await.expect("bytes"), "header");
    assert_eq!(entry.size(), Some(20));
    assert_eq!(entry.read(16..1000).await.expect("bytes"), "rest", "as much as there is");
    assert_eq!(entry.read(3..3).await.expect("bytes"), "");
    assert!(entry.read(20..30).await.is_err());
    assert!(entry.read(0..1 << 30).await.is_err(), "that is too much for the memory");
}

#[tokio::test]
async fn a_url_that_runs_out_in_mid_blob_is_replaced_by_one_look_up() {
    let stand = Stand::start();
    let bytes = noise(4 * MIB, 1);
    let key = EntryKey::pack("store@1");
    stand.put(MAIN, named(&key), bytes.clone());
    for range in [None, Some(MIB as u64..4 * MIB as u64)] {
        let (entry, before) =
            (of_main(&stand).find(&key).await.expect("an answer").expect("an entry"), stand.log().len());
        stand.cut(&[2 * MIB as u64]);
        let begin = range.as_ref().map_or(0, |range| range.start as usize);
        let mut fetch = Fetch::begin(entry.file(range, None), 0).await.expect("it begins");
        let first = fetch.chunk().await.expect("bytes").expect("bytes");
        stand.advance(TEN_MINUTES);
        assert_eq!([first, rest(&mut fetch).await.expect("bytes")].concat(), bytes[begin..]);
        let log = stand.log().split_off(before);
        let asked: Vec<_> = log.iter().map(|asked| (asked.what.as_str(), asked.status)).collect();
        let first = log[0].status;
        assert_eq!(asked, [("GET", first), ("GET", 403), ("GetCacheEntryDownloadURL", 200), ("GET", 206)]);
        let resumed = log[3].range.as_deref().expect("a range")["bytes=".len()..].split('-').next();
        let resumed: usize = resumed.expect("a start").parse().expect("a number");
        assert!((begin + 1..=begin + 2 * MIB).contains(&resumed), "it goes on where it broke: {resumed}");
    }
}

#[tokio::test]
async fn an_entry_that_was_evicted_in_mid_blob_is_not_found() {
    let stand = Stand::start();
    let key = EntryKey::pack("store@1");
    stand.put(MAIN, named(&key), noise(4 * MIB, 1));
    let entry = of_main(&stand).find(&key).await.expect("an answer").expect("an entry");
    stand.advance(TEN_MINUTES);
    stand.evict(key.key());
    assert_eq!(fetched(entry.file(None, None)).await, Err(Error::NotFound));
}

#[tokio::test]
async fn bytes_of_an_entry_that_came_in_its_place_are_not_taken() {
    let stand = Stand::start();
    let key = EntryKey::pack("store@1");
    stand.put(MAIN, named(&key), noise(MIB, 1));
    let entry = of_main(&stand).find(&key).await.expect("an answer").expect("an entry");
    entry.read(0..100).await.expect("bytes");
    stand.evict(key.key());
    stand.put(MAIN, named(&key), noise(MIB, 2));
    stand.advance(TEN_MINUTES);
    let refused = entry.read(100..200).await.expect_err("refused");
    assert_eq!(refused.to_string(), "the entry has become another one");
}

#[tokio::test]
async fn a_service_that_is_away_is_not_asked_again_at_once() {
    let gone = Stand::start();
    let (cache, url) = (of_main(&gone), gone.url.clone());
    drop(gone);
    let error = cache.find(&content(b"it")).await.expect_err("nobody is there").to_string();
    assert!(error.starts_with("the Actions cache is of no use: ") && !error.contains(&url), "{error}");
    let error = cache.find(&content(b"it")).await.expect_err("nobody is asked").to_string();
    assert!(error.starts_with("the Actions cache is not asked for look-ups for another "), "{error}");
    assert!(!cache.may_read() && cache.may_write());
}

#[tokio::test]
async fn a_job_that_may_do_nothing_asks_nothing() {
    let stand = Stand::start();
    let both = Stand::token(&[(MAIN, BOTH)]);
    let none = Stand::token(&[]);
    let read = Stand::token(&[(MAIN, READ)]);
    let (mode, scopes) = (Some(Denial::Mode), Some(Denial::Scopes));
    for (token, text, reads, writes) in [
        (&both, "none", mode, mode),
        (&both, "read", None, mode),
        (&both, "write-only", mode, None),
        (&read, "write", None, scopes),
        (&none, "write", scopes, scopes),
    ] {
        use hubcap_upstream::actions_cache::Error;
        let cache = with_token(&stand.url, token, Mode::parse(Some(text)));
        assert_eq!(cache.read_refusal(), reads.map(Error::ReadDenied), "{text}");
        assert_eq!(cache.write_refusal(), writes.map(Error::WriteDenied), "{text}");
        let before = stand.log().len();
        assert_eq!(cache.find(&content(b"it")).await.is_ok(), reads.is_none());
        assert_eq!(stand.log().len() - before, usize::from(reads.is_none()));
    }
}
