//! Requests for several ranges of a blob, as podman sends them for a partial pull.

use std::ops::Range;

use reqwest::{Method, Response};

use crate::support::hubcap::{Hubcap, Place, blob, header};
use crate::support::multipart::parts;
use crate::support::noise;
use crate::support::origin::Origin;

const SIZE: usize = 300_000;

/// The value of `Range` that asks for these.
fn of(ranges: &[Range<usize>]) -> String {
    let specs: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    format!("bytes={}", specs.join(","))
}

async fn ask(hubcap: &Hubcap, digest: &str, headers: &[(&str, &str)]) -> Response {
    hubcap.ask(Method::GET, &blob("a/b", digest), headers).await
}

/// Asks for several ranges, which must come as they were asked for.
async fn assert_given(hubcap: &Hubcap, (digest, content): (&str, &[u8]), ranges: &[Range<usize>]) {
    let answer = ask(hubcap, digest, &[("range", &of(ranges))]).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "accept-ranges")), (206, "bytes".into()));
    assert_eq!(header(&answer, "content-range"), "", "each part has its own");
    let (kind, length) = (header(&answer, "content-type"), header(&answer, "content-length"));
    let body = answer.bytes().await.expect("a body");
    assert_eq!(length, body.len().to_string());
    let parts = parts(&kind, &body);
    assert_eq!(parts.len(), ranges.len());
    for (part, range) in parts.iter().zip(ranges) {
        let told = format!("bytes {}-{}/{}", range.start, range.end - 1, content.len());
        assert_eq!(
            (part.content_type.as_str(), part.range.as_str()),
            ("application/octet-stream", told.as_str())
        );
        assert!(part.bytes == content[range.clone()], "other bytes than those of {range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_are_given_as_parts_in_the_order_of_the_request_cold_and_warm() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(SIZE, 1);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    for _ in 0..2 {
        let blob = (digest.as_str(), content.as_slice());
        assert_given(&hubcap, blob, &[0..10, 20..30]).await;
        assert_given(&hubcap, blob, &[SIZE - 1..SIZE, 0..100_000, 200_000..299_000]).await;
        assert_given(&hubcap, blob, &[5..10, 10..15]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_ranges_as_podman_asks_for_at_once_are_given() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(20 << 20, 2);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    let ranges: Vec<_> = (0..1024).map(|at| at * 20_000 + 7..at * 20_000 + 10_000).collect();
    assert_given(&hubcap, (&digest, &content), &ranges).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_several_ranges_of_the_blob_is_answered_as_what_it_is() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(SIZE, 3);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    let too_many: Vec<_> = (0..1025).map(|at| at * 2..at * 2 + 1).collect();
    for (range, status, bytes) in [
        ("bytes=0-9,300000-", 206, 0..10),
        ("bytes=300000-,-5", 206, SIZE - 5..SIZE),
        ("bytes=0-9,5-14", 200, 0..SIZE),
        ("bytes=0-,0-,0-", 200, 0..SIZE),
        ("bytes=0-9,x", 200, 0..SIZE),
        ("lines=0-9,20-29", 200, 0..SIZE),
        (&of(&too_many), 200, 0..SIZE),
    ] {
        let answer = ask(&hubcap, &digest, &[("range", range)]).await;
        assert_eq!(answer.status(), status, "{range}");
        let told = format!("bytes {}-{}/{SIZE}", bytes.start, bytes.end - 1);
        assert_eq!(header(&answer, "content-range"), if status == 206 { told.as_str() } else { "" });
        assert_eq!(header(&answer, "content-type"), "application/octet-stream");
        assert!(answer.bytes().await.expect("a body") == content[bytes], "{range}");
    }
    let none = ask(&hubcap, &digest, &[("range", "bytes=300000-,400000-500000")]).await;
    assert_eq!((none.status().as_u16(), header(&none, "content-range")), (416, "bytes */300000".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_with_ranges_tells_the_whole_length() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&noise(SIZE, 4));
    let hubcap = place.start(&origin.url(), &[]);
    ask(&hubcap, &digest, &[]).await.bytes().await.expect("a body");
    let answer = hubcap.ask(Method::HEAD, &blob("a/b", &digest), &[("range", "bytes=0-9,20-29")]).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-length")), (200, SIZE.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_another_content_by_if_range_are_answered_with_the_whole() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&noise(SIZE, 5));
    let hubcap = place.start(&origin.url(), &[]);
    for (condition, status) in [
        (format!("\"{digest}\""), 206),
        (format!("W/\"{digest}\""), 200),
        ("\"another\"".into(), 200),
        ("Thu, 26 Nov 2026 18:00:00 GMT".into(), 200),
    ] {
        for range in ["bytes=0-9", "bytes=0-9,20-29"] {
            let answer = ask(&hubcap, &digest, &[("range", range), ("if-range", &condition)]).await;
            assert_eq!(answer.status(), status, "{condition} {range}");
        }
    }
}
