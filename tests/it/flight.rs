//! A miss streams, is fetched once, and no client stands in its way. Nothing wrong is delivered whole.

use futures_util::StreamExt as _;
use reqwest::Method;
use tokio::sync::watch;

use crate::support::hubcap::{Place, blob, manifest, status};
use crate::support::image::{self, sha256};
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_of_one_cold_blob_are_one_fetch() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(4 << 20, 1);
    let digest = origin.put_blob(&content);
    let (open, gate) = watch::channel(false);
    origin.quirk(&digest, quirk::gate(1 << 20, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let path = blob("library/x", &digest);
    let clients: Vec<_> = (0..50).map(|_| hubcap.get(&path)).collect();
    // All have their headers, so all are in the flight, before the origin may go on.
    let answers = futures_util::future::join_all(clients).await;
    open.send(true).expect("the origin waits");
    let mut outcomes: Vec<String> = answers.iter().map(status).collect();
    for answer in answers {
        assert!(answer.bytes().await.expect("a body") == content);
    }
    outcomes.sort();
    outcomes.dedup();
    assert_eq!(outcomes, ["hubcap; fwd=miss; collapsed", "hubcap; fwd=miss; stored"]);
    assert_eq!(origin.count(&Method::GET, &digest), 1);
    eventually("the fill's end", || place.ingests() == 0).await;
    assert_eq!(status(&hubcap.get(&path).await), "hubcap; hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_come_before_the_last_are_there_and_nothing_is_visible_until_then() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(2 << 20, 2);
    let digest = origin.put_blob(&content);
    let (open, gate) = watch::channel(false);
    origin.quirk(&digest, quirk::gate(1 << 20, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let mut body = hubcap.get(&blob("a", &digest)).await.bytes_stream();
    let mut received = body.next().await.expect("a chunk").expect("bytes").to_vec();
    assert!(place.blobs().is_empty(), "visible before it is verified");
    // A range of what is there already is answered as well, while the fill waits.
    let range = hubcap.ask(Method::GET, &blob("a", &digest), &[("range", "bytes=10-19")]).await;
    assert_eq!(range.bytes().await.expect("a body"), content[10..20]);
    open.send(true).expect("the origin waits");
    while let Some(chunk) = body.next().await {
        received.extend_from_slice(&chunk.expect("bytes"));
    }
    assert!(received == content);
    assert_eq!(place.blobs(), std::slice::from_ref(&digest));
    assert_eq!(origin.count(&Method::GET, &digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_cancel_the_fill() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(2 << 20, 3);
    let digest = origin.put_blob(&content);
    let (open, gate) = watch::channel(false);
    origin.quirk(&digest, quirk::gate(1 << 20, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let mut body = hubcap.get(&blob("a", &digest)).await.bytes_stream();
    body.next().await.expect("a chunk").expect("bytes");
    drop(body);
    eventually("the client's end in the log", || hubcap.log().contains("the client left")).await;
    open.send(true).expect("the origin waits");
    eventually("the whole blob in the store", || place.blobs() == [digest.clone()]).await;
    assert!(hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body") == content);
    assert_eq!(origin.count(&Method::GET, &digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_slows_nobody() {
    let (origin, place) = (Origin::start().await, Place::new());
    // More than the sockets' buffers can take off the slow client's hands.
    let content = noise(48 << 20, 4);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    let slow = hubcap.get(&blob("a", &digest)).await;
    let fast = hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body");
    assert!(fast == content);
    eventually("the whole blob in the store", || place.blobs() == [digest.clone()]).await;
    assert!(slow.bytes().await.expect("a body") == content);
    assert_eq!(origin.count(&Method::GET, &digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_is_never_delivered_whole_nor_stored() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let large = origin.put_blob(&noise(1 << 20, 5));
    let small = origin.put_blob(&noise(100, 6));
    origin.quirk(&large, quirk::flip());
    origin.quirk(&small, quirk::flip());
    let answer = hubcap.get(&blob("a", &large)).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err(), "the connection must be cut before the end");
    // A small one is not begun, so the client is sent on instead.
    let answer = hubcap.get(&blob("a", &small)).await;
    assert_eq!(answer.status(), 404);
    eventually("the fills' end", || place.ingests() == 0).await;
    assert!(place.blobs().is_empty());
    origin.heal();
    for digest in [large, small] {
        let answer = hubcap.get(&blob("a", &digest)).await;
        assert_eq!(sha256(&answer.bytes().await.expect("a body")), digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_a_wrong_digest_is_not_served() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "a/b:latest", &[b"layer"]);
    origin.quirk(&image.digest, quirk::flip());
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("a/b", &image.digest)).await.status(), 404);
    assert!(place.blobs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_taken_up_again_without_the_client_noticing() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(1 << 20, 7);
    let digest = origin.put_blob(&content);
    origin.quirk(&digest, quirk::cut_once(300_000));
    let hubcap = place.start(&origin.url(), &[]);
    assert!(hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body") == content);
    let ranges: Vec<_> = origin.log().into_iter().filter_map(|asked| asked.range).collect();
    // A little earlier than it broke, to see whether it is the same content.
    assert_eq!(ranges, ["bytes=299744-"]);
    // The same from an origin that knows no ranges: what is there already is skipped.
    let content = noise(1 << 20, 8);
    let digest = origin.put_blob(&content);
    origin.quirk(&digest, quirk::cut_once(300_000));
    origin.quirk(&digest, quirk::no_ranges());
    assert!(hubcap.get(&blob("a", &digest)).await.bytes().await.expect("a body") == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_in_the_middle_fails_all_clients_and_leaves_nothing() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&noise(1 << 20, 9));
    let (open, gate) = watch::channel(false);
    origin.quirk(&digest, quirk::gate(300_000, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let (one, two) = (hubcap.get(&blob("a", &digest)).await, hubcap.get(&blob("a", &digest)).await);
    // From now on it is gone: the gate's end breaks the body, and every further try is refused.
    origin.heal();
    origin.quirk(&digest, quirk::status(404));
    drop(open);
    assert!(one.bytes().await.is_err() && two.bytes().await.is_err());
    eventually("the fill's end", || place.ingests() == 0).await;
    assert!(place.blobs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn knowing_a_digest_is_not_permission() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(1 << 20, 10);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&blob("mine/x", &digest)).await.bytes().await.expect("a body");
    origin.quirk("/v2/theirs/x/", quirk::status(404));
    origin.quirk("/v2/closed/x/", quirk::status(403));
    assert_eq!(hubcap.get(&blob("theirs/x", &digest)).await.status(), 404);
    assert_eq!(hubcap.get(&blob("closed/x", &digest)).await.status(), 403);
    origin.forget();
    let answer = hubcap.get(&blob("other/x", &digest)).await;
    assert!(status(&answer).contains("granted"), "{}", status(&answer));
    assert!(answer.bytes().await.expect("a body") == content);
    assert_eq!((origin.count(&Method::HEAD, &digest), origin.count(&Method::GET, &digest)), (1, 0));
    assert_eq!(status(&hubcap.get(&blob("other/x", &digest)).await), "hubcap; hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_blob() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(192 << 20, 11);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    for _ in ["cold", "warm"] {
        let answer = hubcap.get(&blob("a", &digest)).await;
        let mut stream = answer.bytes_stream();
        let mut length = 0;
        while let Some(chunk) = stream.next().await {
            length += chunk.expect("bytes").len();
        }
        assert_eq!(length, content.len());
    }
    let peak = hubcap.peak_memory_kib();
    assert!(peak < 64 << 10, "{peak} kB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_blobs_come_in_with_its_manifest_where_that_is_wanted() {
    for wanted in [true, false] {
        let (origin, place) = (Origin::start().await, Place::new());
        let layers = [noise(200_000, 1), noise(300_000, 2)];
        let image = image::put(&origin, "library/x:1", &[&layers[0], &layers[1]]);
        let hubcap = place.start(&origin.url(), if wanted { &["--read-ahead"] } else { &[] });
        hubcap.head(&manifest("x", "1")).await;
        assert_eq!(origin.count(&Method::GET, "blobs"), 0, "a look fetched something");
        hubcap.get(&manifest("x", "1")).await;
        if !wanted {
            assert_eq!(origin.count(&Method::GET, "blobs"), 0);
            continue;
        }
        let here = || image.blobs.iter().all(|digest| place.blobs().contains(digest));
        eventually("all blobs in the store, without a client", here).await;
        for digest in &image.blobs {
            assert_eq!(status(&hubcap.get(&blob("x", digest)).await), "hubcap; hit");
            assert_eq!(origin.count(&Method::GET, digest), 1);
        }
    }
}
