//! An origin that limits each connection is asked over several; one that does not want that is not.

use reqwest::Method;

use crate::support::hubcap::{Place, blob, status};
use crate::support::noise;
use crate::support::origin::{Origin, Parts, quirk};

const SIZE: usize = 80 << 20;
/// Five seconds for one connection.
const RATE: usize = 16 << 20;
/// No part is smaller than this, but for what is asked again to see that ranges are right.
const PART: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_comes_slowly_is_fetched_in_parts_and_is_right_however_the_origin_takes_it() {
    let content = noise(SIZE, 1);
    let play = async |manner: Parts| {
        let (origin, place) = (Origin::start().await, Place::new());
        let digest = origin.put_blob(&content);
        origin.quirk(&digest, quirk::throttle(RATE, manner));
        let hubcap = place.start(&origin.url(), &[]);
        let answer = hubcap.get(&blob("x", &digest)).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; stored");
        assert!(answer.bytes().await.expect("a body") == content, "{manner:?}: wrong bytes");
        crate::support::eventually("the blob in the store", || place.blobs() == [digest.clone()]).await;
        let asked = origin.log();
        let parts: Vec<(u64, u64)> = asked
            .iter()
            .filter_map(|asked| {
                let (start, end) = asked.range.as_deref()?.strip_prefix("bytes=")?.split_once('-')?;
                Some((start.parse().expect("a number"), end.parse().ok()?))
            })
            .collect();
        (origin.count(&Method::GET, &digest), parts)
    };
    let all = [Parts::Given, Parts::Ignored, Parts::Refused, Parts::Few(2), Parts::Cut, Parts::Other];
    let mut results = futures_util::future::join_all(all.map(play)).await.into_iter();
    let mut next = || results.next().expect("a result");

    let (_, parts) = next();
    // No byte of a part is asked for twice.
    let mut sorted = parts.clone();
    sorted.sort_unstable();
    assert!((4..=17).contains(&sorted.len()), "{parts:?}");
    assert!(sorted.windows(2).all(|two| two[0].1 < two[1].0), "{parts:?}");
    let small = sorted.iter().filter(|(first, last)| last + 1 - first < PART - 16).count();
    assert_eq!(small, 1, "one sample, and no small part: {parts:?}");
    for manner in ["ignored", "refused"] {
        let (asked, parts) = next();
        assert!((2..=4).contains(&asked) && parts.len() <= 3, "{manner}: {asked} {parts:?}");
    }
    let (_, few) = next();
    assert!(few.len() >= 4, "{few:?}");
    let (_, cut) = next();
    assert!(!cut.is_empty());
    let (asked, other) = next();
    assert!(asked <= 4 && other.len() <= 3, "{asked} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_fast_on_one_connection_gets_one() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(SIZE / 2, 2);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    assert!(hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body") == content);
    assert_eq!(origin.count(&Method::GET, &digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_here_within_a_second_gets_one_connection_however_slow_it_comes() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(RATE / 4, 3);
    let digest = origin.put_blob(&content);
    origin.quirk(&digest, quirk::throttle(RATE, Parts::Given));
    let hubcap = place.start(&origin.url(), &[]);
    assert!(hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body") == content);
    assert_eq!((origin.count(&Method::GET, &digest), origin.most_parts()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_for_a_blob_and_for_a_registry() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let fetch = async |seed: u64| {
        let content = noise(SIZE, seed);
        let digest = origin.put_blob(&content);
        origin.quirk(&digest, quirk::throttle(RATE / 2, Parts::Given));
        assert!(hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body") == content);
    };
    fetch(4).await;
    let one = origin.most_parts();
    assert!((4..=8).contains(&one), "{one} for one blob");
    futures_util::future::join_all((5..9).map(fetch)).await;
    let four = origin.most_parts();
    // Sixteen, and each blob's first connection, which fetches parts as well in the end.
    assert!((9..=20).contains(&four), "{four} for four blobs");
}
