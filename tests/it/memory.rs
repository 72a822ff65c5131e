//! Long documents take bounded memory: manifests, lists of tags and of referrers, many at once, and of clients that do not read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use hubcap_oci::media_type;
use reqwest::Method;

use crate::support::hubcap::{Hubcap, Place, manifest};
use crate::support::origin::{Origin, Reply, quirk};

const MIB: usize = 1 << 20;

/// Has clients ask for a long document each and not read it, and asserts that the memory for all of them is bounded.
async fn assert_bounded_though_unread(hubcap: &Hubcap, clients: usize, path: impl Fn(usize) -> String) {
    let answered = AtomicUsize::new(0);
    let ask = async |n: usize| {
        let answer = hubcap.get(&path(n)).await;
        assert_eq!(answer.status(), 200);
        answered.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
        drop(answer);
    };
    let clients = tokio::time::timeout(Duration::from_secs(25), join_all((0..clients).map(ask)));
    assert!(clients.await.is_err(), "they do not end");
    assert!(answered.into_inner() > 0, "nobody was answered: {}", hubcap.log());
    let peak = hubcap.peak_memory_kib();
    assert!(peak < 300 << 10, "{peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_tags_that_clients_do_not_read_take_no_more_memory_than_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    let tags: Vec<String> = (0..150_000).map(|n| format!("{n:040}")).collect();
    let text = Bytes::from(serde_json::json!({"name": "x", "tags": tags}).to_string());
    origin.quirk("/tags/list", quirk::answer(move |_| Some(Reply::new(text.clone()))));
    let hubcap = place.start(&origin.url(), &[]);
    assert_bounded_though_unread(&hubcap, 60, |n| format!("/v2/library/x{n}/tags/list")).await;
}

/// A list of so many referrers; each takes some 580 bytes.
fn referrers(count: usize) -> Bytes {
    let referrer = |n: usize| {
        serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": format!("sha256:{n:064x}"), "size": n,
            "artifactType": "application/x", "annotations": {"of": format!("{n:0400}")}})
    };
    let all: Vec<serde_json::Value> = (0..count).map(referrer).collect();
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": all});
    Bytes::from(list.to_string())
}

/// Has an origin list so many referrers for each digest.
fn list_referrers(origin: &Origin, count: usize) {
    let text = referrers(count);
    origin.quirk("/referrers/", quirk::answer(move |_| Some(Reply::new(text.clone()))));
}

fn referrers_of(n: usize) -> String {
    format!("/v2/library/x/referrers/sha256:{n:064x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_referrers_that_clients_do_not_read_take_no_more_memory_than_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    list_referrers(&origin, 9000);
    let hubcap = place.start(&origin.url(), &[]);
    assert_bounded_though_unread(&hubcap, 60, referrers_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_lists_of_referrers_that_clients_do_not_read_take_no_more_memory_than_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    list_referrers(&origin, 6500);
    let hubcap = place.start(&origin.url(), &[]);
    for n in 0..100 {
        assert_eq!(hubcap.get(&referrers_of(n)).await.bytes().await.expect("all of it").len() >> 20, 3);
    }
    assert_eq!(hubcap.stop(), Some(0));
    origin.forget();
    let hubcap = place.start(&origin.url(), &[]);
    assert_bounded_though_unread(&hubcap, 100, referrers_of).await;
    assert_eq!(origin.count(&Method::GET, "/referrers/"), 0, "they are kept");
}

/// A hundred manifests of 3.5 MiB, at an origin; their digests.
fn put_large_manifests(origin: &Origin) -> Vec<String> {
    let layer = |n: usize| {
        format!(
            r#"{{"mediaType":"{}","size":{n},"digest":"sha256:{n:064x}"}}"#,
            "application/vnd.oci.image.layer.v1.tar+gzip"
        )
    };
    let layers: Vec<String> = (0..24_000).map(layer).collect();
    let layers = layers.join(",");
    (0..100)
        .map(|n| {
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","n":{n},"config":{},"layers":[{layers}]}}"#,
                media_type::OCI_MANIFEST,
                layer(n),
            );
            origin.put_manifest(&format!("library/x:{n}"), media_type::OCI_MANIFEST, text.as_bytes())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_manifests_that_clients_do_not_read_take_no_more_memory_than_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digests = put_large_manifests(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    for digest in &digests {
        assert_eq!(
            hubcap.get(&manifest("library/x", digest)).await.bytes().await.expect("all of it").len() >> 20,
            3
        );
    }
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &[]);
    assert_bounded_though_unread(&hubcap, 100, |n| manifest("library/x", &digests[n])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_large_manifests_at_once_are_all_answered_in_300_mib() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digests = put_large_manifests(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    let ask = async |digest: &String| {
        let answer = hubcap.get(&manifest("library/x", digest)).await;
        let status = answer.status().as_u16();
        // Read, and let go.
        (status, answer.bytes().await.map_or(0, |bytes| bytes.len()))
    };
    let answers = join_all(digests.iter().map(ask)).await;
    assert!(answers.iter().all(|(status, length)| *status == 200 && *length > 3 * MIB), "{answers:?}");
    let peak = hubcap.peak_memory_kib();
    assert!(peak < 300 << 10, "{peak} KiB");
    let files = std::fs::read_dir(place.store().join("index-sled034-v2")).expect("the index");
    let index: u64 = files.map(|file| file.expect("a file").metadata().expect("there").len()).sum();
    assert!(index < 8 << 20, "{index} bytes of index");
}

/// An origin that lists referrers in pages of so many entries for ever, each page after `late`.
fn list_referrers_for_ever(origin: &Origin, count: usize, late: Duration) {
    let text = referrers(count);
    let page = AtomicUsize::new(0);
    let next = quirk::answer(move |asked| {
        let n = page.fetch_add(1, Ordering::Relaxed);
        let link = format!("<{}?page={n}>; rel=\"next\"", asked.path());
        let bytes = text.clone();
        Some(Reply::new(bytes).with("link", &link).sent_by(move |bytes| {
            stream::once(async move {
                tokio::time::sleep(late).await;
                Ok(bytes)
            })
        }))
    });
    origin.quirk("/referrers/", next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_referrers_whose_pages_have_no_end_is_cut_in_time() {
    let (origin, place) = (Origin::start().await, Place::new());
    list_referrers_for_ever(&origin, 1, Duration::from_secs(3));
    let hubcap = place.start(&origin.url(), &[]);
    let answer = tokio::time::timeout(Duration::from_secs(40), hubcap.get(&referrers_of(1))).await;
    let answer = answer.expect("in time");
    assert_eq!(answer.status(), 200);
    let list = answer.bytes().await.expect("a body");
    let list: serde_json::Value = serde_json::from_slice(&list).expect("a list");
    let found = list["manifests"].as_array().expect("entries").len();
    assert!((5..10).contains(&found), "{found} pages of three seconds each");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_referrers_do_not_wait_for_each_others_memory() {
    let (origin, place) = (Origin::start().await, Place::new());
    // Of 1.2 MiB each, four of which a list has: all first pages together are more than the registry may have.
    list_referrers_for_ever(&origin, 2_100, Duration::from_millis(300));
    let hubcap = place.start(&origin.url(), &[]);
    let ask = async |n: usize| {
        let answer = hubcap.get(&referrers_of(n)).await;
        let status = answer.status().as_u16();
        (status, answer.bytes().await.map_or(0, |bytes| bytes.len()))
    };
    let begun = Instant::now();
    let answers = join_all((0..40).map(ask)).await;
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert!(answers.iter().any(|(status, _)| *status == 200), "{answers:?}");
    let peak = hubcap.peak_memory_kib();
    assert!(peak < 300 << 10, "{peak} KiB");
}
