//! Requests for several ranges of a blob, as podman sends them for a partial pull.

use std::ops::Range;

use reqwest::{Method, Response};
use tokio::sync::watch;

use crate::support::hubcap::{Hubcap, Place, blob, header};
use crate::support::multipart::parts;
use crate::support::origin::{Act, Origin, Quirk, quirk};
use crate::support::{eventually, noise};

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

/// A blob whose fill stops at its first MiB until `gate` is opened.
struct Filling {
    origin: Origin,
    place: Place,
    content: Vec<u8>,
    digest: String,
    gate: watch::Sender<bool>,
}

impl Filling {
    async fn new() -> Self {
        let (origin, place) = (Origin::start().await, Place::new());
        let content = noise(40 << 20, 6);
        let digest = origin.put_blob(&content);
        let (gate, opened) = watch::channel(false);
        origin.quirk(&digest, quirk::of_wholes(quirk::gate(1 << 20, opened)));
        Self { origin, place, content, digest, gate }
    }

    fn blob(&self) -> (&str, &[u8]) {
        (&self.digest, &self.content)
    }

    /// What was asked of the origin for ranges.
    fn ranges(&self) -> Vec<String> {
        self.origin.log().into_iter().filter_map(|asked| asked.range).collect()
    }
}

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_the_fill_does_not_have_yet_come_from_the_registry_in_one_request() {
    let filling = Filling::new().await;
    let hubcap = filling.place.start(&filling.origin.url(), &[]);
    let ranges = [30 * MIB..31 * MIB, 20 * MIB..20 * MIB + 7, 40 * MIB - 9..40 * MIB];
    assert_given(&hubcap, filling.blob(), &ranges).await;
    assert_eq!(filling.ranges(), [of(&ranges)]);
    let one = ask(&hubcap, &filling.digest, &[("range", "bytes=-1000")]).await;
    assert_eq!(one.status(), 206);
    assert!(one.bytes().await.expect("a body") == filling.content[40 * MIB - 1000..]);
    filling.gate.send_replace(true);
    // What is in the store in the end is the whole.
    eventually("the blob in the store", || filling.place.blobs() == [filling.digest.clone()]).await;
    let asked = filling.origin.count(&Method::GET, &filling.digest);
    assert_given(&hubcap, filling.blob(), &[0..10, 20 * MIB..30 * MIB]).await;
    assert_eq!(filling.origin.count(&Method::GET, &filling.digest), asked, "nothing is asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_the_fill_has_are_not_asked_for() {
    let filling = Filling::new().await;
    let hubcap = filling.place.start(&filling.origin.url(), &[]);
    assert_given(&hubcap, filling.blob(), &[0..10, 500_000..600_000]).await;
    assert!(filling.ranges().is_empty());
    filling.gate.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_gives_no_several_ranges_costs_its_client_nothing_but_time() {
    let other = |range: &'static str| {
        quirk::of_ranges(Quirk::new(move |asked| {
            asked.headers.insert("range", range.parse().expect("a value"));
            None
        }))
    };
    for (what, odd) in [
        ("ignored", quirk::no_ranges()),
        ("refused", quirk::of_ranges(quirk::status(416))),
        ("failed", quirk::of_ranges(quirk::status(500))),
        ("the first alone", other("bytes=20971520-20971529")),
        ("merged", other("bytes=20971520-31457279")),
        ("others", other("bytes=20971520-20971529,5-9")),
        ("cut", quirk::of_ranges(quirk::cut_at(200))),
        ("no answer", quirk::of_ranges(Quirk::new(|_| Some(Act::Close)))),
    ] {
        let filling = Filling::new().await;
        filling.origin.quirk(&filling.digest, odd);
        let hubcap = filling.place.start(&filling.origin.url(), &[]);
        let open = async {
            eventually("the ranges asked for", || !filling.ranges().is_empty()).await;
            filling.gate.send_replace(true);
        };
        let ranges = [20 * MIB..20 * MIB + 10, 30 * MIB - 1000..30 * MIB];
        tokio::join!(assert_given(&hubcap, filling.blob(), &ranges), open);
        println!("{what}: given");
    }
}
