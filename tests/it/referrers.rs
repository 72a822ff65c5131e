//! Lists of referrers: kept like tags, with the store, for those who may have the repository.

mod attestations;
mod carried;
pub(crate) mod dockerd29;
mod exported;
mod private;

use http::Method;
use hubcap_oci::media_type;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::hubcap::{Hubcap, Place, header, manifest, status};
use crate::support::image::{self, sha256};
use crate::support::origin::{Act, Origin, Quirk, Reply, quirk};
use crate::support::{eventually, noise};

/// An entry of a list.
fn entry(artifact_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type::OCI_MANIFEST, "digest": sha256(content), "size": content.len(),
        "artifactType": artifact_type, "annotations": {"k": artifact_type}})
}

fn index(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries})
}

/// The tag under which a registry without the endpoint has a list.
fn tag_of(digest: &str) -> String {
    digest.replace(':', "-")
}

fn path(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/referrers/{digest}")
}

async fn entries(answer: Response) -> Value {
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), media_type::OCI_INDEX);
    let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    body["manifests"].clone()
}

/// The list, and how hubcap came to it.
async fn list(hubcap: &Hubcap, path: &str) -> (Value, String) {
    let answer = hubcap.get(path).await;
    let told = status(&answer);
    (entries(answer).await, told)
}

/// Where a registry keeps a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    ByEndpoint,
    ByTag,
    Nowhere,
}

/// An origin with an image `library/app:1`, and its list.
async fn origin(kept: Kept) -> (Origin, image::Image, Value) {
    let origin = Origin::start().await;
    let image = image::put(&origin, "library/app:1", &[&noise(3000, 1)]);
    let found = match kept {
        Kept::Nowhere => vec![],
        _ => vec![entry("a/sbom", b"one"), entry("a/signature", b"two")],
    };
    match kept {
        Kept::ByEndpoint => origin.put_referrers(&image.digest, index(&found)),
        Kept::ByTag => {
            let name = format!("library/app:{}", tag_of(&image.digest));
            origin.put_manifest(&name, media_type::OCI_INDEX, index(&found).to_string().as_bytes());
        }
        Kept::Nowhere => {}
    }
    (origin, image, Value::Array(found))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_asked_for_once_in_its_lifetime_wherever_the_registry_keeps_it() {
    for kept in [Kept::ByEndpoint, Kept::ByTag, Kept::Nowhere] {
        let ((mut origin, image, found), place) = (origin(kept).await, Place::new());
        let hubcap = place.start(&origin.url(), &[]);
        let path = path("app", &image.digest);
        let (first, told) = list(&hubcap, &path).await;
        assert_eq!((&first, told.as_str()), (&found, "hubcap; fwd=miss; stored"), "{kept:?}");
        origin.forget();
        for filter in ["", "?artifactType=a/sbom", "?artifactType=c&artifactType=a/signature"] {
            let (again, told) = list(&hubcap, &format!("{path}{filter}")).await;
            assert!(told.starts_with("hubcap; hit; ttl="), "{kept:?}: {told}");
            let most = found.as_array().map_or(0, Vec::len);
            assert_eq!(again.as_array().map(Vec::len), Some(if filter.is_empty() { most } else { most / 2 }));
        }
        assert_eq!(origin.log().len(), 0, "{kept:?}");
        // Another process has it, too, and needs no origin.
        assert_eq!(hubcap.stop(), Some(0));
        origin.die().await;
        let hubcap = place.start(&origin.url(), &[]);
        assert_eq!(list(&hubcap, &path).await.0, found, "{kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_past_its_ttl_is_asked_for_again_and_served_stale_while_the_registry_is_down() {
    for kept in [Kept::ByEndpoint, Kept::ByTag, Kept::Nowhere] {
        let ((origin, image, found), place) = (origin(kept).await, Place::new());
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
        let path = path("app", &image.digest);
        assert_eq!(list(&hubcap, &path).await.0, found);
        let (_, told) = list(&hubcap, &path).await;
        assert_eq!(told, "hubcap; fwd=stale; fwd-status=200; stored", "{kept:?}");
        origin.quirk("/v2/library", quirk::status(503));
        let (stale, told) = list(&hubcap, &path).await;
        assert_eq!(stale, found, "{kept:?}");
        assert!(told.ends_with("detail=stale-if-error"), "{told}");
        eventually("the warning", || hubcap.log().contains("stored list of referrers although it is")).await;
        origin.heal();
        let more = entry("a/later", b"three");
        origin.put_referrers(&image.digest, index(std::slice::from_ref(&more)));
        assert_eq!(list(&hubcap, &path).await.0, json!([more]), "{kept:?}");
        // The newer one is the one that is kept.
        assert_eq!(hubcap.stop(), Some(0));
        let offline = place.start(&origin.url(), &["--offline"]);
        let (kept_now, told) = list(&offline, &path).await;
        assert_eq!(kept_now, json!([more]), "{kept:?}");
        assert!(told.ends_with("detail=offline"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_of_one_list_are_one_request() {
    let ((origin, image, found), place) = (origin(Kept::ByEndpoint).await, Place::new());
    let (open, gate) = watch::channel(false);
    origin.quirk("/referrers/", quirk::gate(1, gate));
    let hubcap = place.start(&origin.url(), &[]);
    let path = path("app", &image.digest);
    let asked = async { futures_util::future::join_all((0..20).map(|_| list(&hubcap, &path))).await };
    let opened = async {
        eventually("a request", || origin.count(&Method::GET, "/referrers/") > 0).await;
        open.send(true).expect("the origin waits");
    };
    let (answers, ()) = tokio::join!(asked, opened);
    assert!(answers.iter().all(|(one, _)| *one == found));
    assert_eq!(origin.count(&Method::GET, "/referrers/"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_kept_as_one_list_and_a_list_that_is_too_long_is_passed_on() {
    let page = |number: usize, last: usize, size: usize, target: &str| {
        let mut one = entry("a/b", &number.to_le_bytes());
        one["annotations"]["k"] = "x".repeat(size).into();
        let reply = Reply::new(index(&[one]).to_string()).with("content-type", media_type::OCI_INDEX);
        let next = format!("<{target}?page={}>; rel=\"next\"", number + 1);
        if number < last { reply.with("link", &next) } else { reply }
    };
    // The last one is cut after 100 pages.
    for (pages, size, is_kept, length) in
        [(30, 10, true, 30), (3, 1_900_000, false, 3), (200, 10, false, 100)]
    {
        let ((origin, image, _), place) = (origin(Kept::Nowhere).await, Place::new());
        origin.quirk(
            "/referrers/",
            Quirk::new(move |asked| {
                let number = asked.query("page").map_or(0, |page| page.parse().expect("a number"));
                Some(Act::Answer(page(number, pages - 1, size, asked.path())))
            }),
        );
        let hubcap = place.start(&origin.url(), &[]);
        let path = path("app", &image.digest);
        for round in 0..2 {
            let (found, told) = list(&hubcap, &path).await;
            assert_eq!(found.as_array().map(Vec::len), Some(length), "{pages} pages");
            assert_eq!(told.starts_with("hubcap; hit"), is_kept && round == 1, "{pages} pages: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_never_asked_for_is_empty_while_the_registry_is_down() {
    let ((mut origin, image, _), place) = (origin(Kept::ByEndpoint).await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("app", "1")).await.status(), 200);
    origin.die().await;
    let (found, told) = list(&hubcap, &path("app", &image.digest)).await;
    assert_eq!(found, json!([]));
    assert!(told.ends_with("detail=stale-if-error"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_the_proxy_makes_the_lists_of_its_repository_ones_to_ask_for_again() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/app:1", &[b"layer"]);
    let upstream = format!("ghcr.io={}", origin.url());
    let arguments = ["--proxy-listen", "127.0.0.1:0", "--upstream", &upstream];
    let hubcap = place.start("http://127.0.0.1:9", &arguments);
    let client = hubcap.through_proxy(&place);
    let ask = async || {
        let url = format!("https://ghcr.io{}", path("org/app", &image.digest));
        let answer = client.get(url).send().await.expect("an answer");
        let told = status(&answer);
        (entries(answer).await, told)
    };
    assert_eq!(ask().await.0, json!([]));
    assert!(ask().await.1.starts_with("hubcap; hit"));
    let signature = entry("a/signature", b"signature");
    origin.put_referrers(&image.digest, index(std::slice::from_ref(&signature)));
    origin.quirk(
        "manifests/sha256",
        quirk::answer(|asked| (asked.method == Method::PUT).then(|| Reply::new(""))),
    );
    let url = format!("https://ghcr.io{}", manifest("org/app", &sha256(b"signature")));
    let answer = client.put(url).body("signature").send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    assert_eq!(ask().await.0, json!([signature]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_is_not_found_for_containerd_which_asks_the_registry_itself_only_then() {
    for refusal in [401, 403, 429] {
        let (origin, image, _) = origin(Kept::ByEndpoint).await;
        origin.quirk("/referrers/", quirk::status(refusal));
        let place = Place::new();
        let hubcap = place.start(&origin.url(), &[]);
        assert_eq!(hubcap.get(&manifest("app", "1")).await.status(), 200, "its manifests are for everybody");
        let path = path("library/app", &image.digest);
        let (told, others) = match refusal {
            // Trouble: containerd gives up a pull without a list.
            429 => (200, 200),
            _ => (404, 403),
        };
        assert_eq!(hubcap.get(&format!("{path}?ns=docker.io")).await.status(), told, "{refusal}");
        assert_eq!(hubcap.get(&path).await.status(), others, "{refusal}");
    }
}
