//! The read-only cases of the official conformance suite of the distribution specification (`conformance/01_pull_test.go` and
//! `03_discovery_test.go`), each by the number of its end-point: with an empty store, with a full one, and with a full one
//! offline.

use hubcap_oci::media_type;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::hubcap::{Hubcap, Place, blob, header, manifest};
use crate::support::image::{self, Image, sha256};
use crate::support::noise;
use crate::support::origin::Origin;

const NAME: &str = "myorg/myrepo";
const TAGS: [&str; 4] = ["test0", "test1", "test2", "test3"];
/// What nobody has.
const NONEXISTENT: &str = ".INVALID_MANIFEST_NAME";
const KINDS: [&str; 2] =
    ["application/vnd.nba.strawberry.jam.croissant", "application/vnd.nhl.peanut.butter.bagel"];

/// What the suite puts into a registry.
struct Content {
    origin: Origin,
    image: Image,
    /// A manifest that is not there, and has a referrer.
    missing: String,
}

impl Content {
    async fn new() -> Self {
        let origin = Origin::start().await;
        let layer = noise(2048, 1);
        let image = image::put(&origin, &format!("{NAME}:{}", TAGS[0]), &[&layer]);
        for tag in TAGS {
            origin.put_manifest(&format!("{NAME}:{tag}"), media_type::OCI_MANIFEST, &image.manifest);
        }
        let entry = |number: usize| {
            json!({"mediaType": media_type::OCI_MANIFEST, "digest": sha256(&[number as u8]), "size": 1,
                "artifactType": KINDS[number % 2], "annotations": {"org.opencontainers.conformance.test": number.to_string()}})
        };
        let index = |numbers: std::ops::Range<usize>| json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": numbers.map(entry).collect::<Vec<_>>()});
        let missing = sha256(b"a manifest that was never pushed");
        origin.put_referrers(&image.digest, index(0..5));
        origin.put_referrers(&missing, index(5..6));
        Self { origin, image, missing }
    }
}

/// Plays a case three times: cold, warm and offline.
async fn play(case: impl AsyncFn(&Content, &Hubcap)) {
    let (content, place) = (Content::new().await, Place::new());
    let hubcap = place.start(&content.origin.url(), &[]);
    println!("cold");
    case(&content, &hubcap).await;
    for tag in TAGS {
        hubcap.get(&manifest(NAME, tag)).await.bytes().await.expect("a manifest");
    }
    for digest in &content.image.blobs {
        hubcap.get(&blob(NAME, digest)).await.bytes().await.expect("a blob");
    }
    println!("warm");
    case(&content, &hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    let offline = place.start(&content.origin.url(), &["--offline"]);
    println!("offline");
    case(&content, &offline).await;
}

async fn json_of(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// A refusal whose body is the specification's.
async fn assert_refused(answer: Response, status: u16, codes: &[&str]) {
    assert_eq!(answer.status(), status);
    let body = json_of(answer).await;
    let code = body["errors"][0]["code"].as_str().expect("a code");
    assert!(codes.contains(&code), "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_1_the_version_check_yields_200() {
    play(async |_, hubcap| assert_eq!(hubcap.get("/v2/").await.status(), 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_2_head_of_a_nonexistent_blob_yields_404() {
    play(async |_, hubcap| {
        assert_eq!(hubcap.head(&blob(NAME, &sha256(b"dummy"))).await.status(), 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_2_head_of_an_existing_blob_yields_200() {
    play(async |content, hubcap| {
        for digest in &content.image.blobs {
            let answer = hubcap.head(&blob(NAME, digest)).await;
            assert_eq!((answer.status().as_u16(), &header(&answer, "docker-content-digest")), (200, digest));
            let length = content.origin.blob(digest).expect("the blob").len();
            assert_eq!(header(&answer, "content-length"), length.to_string());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_2_get_of_a_nonexistent_blob_yields_404() {
    play(async |_, hubcap| {
        let answer = hubcap.get(&blob(NAME, &sha256(b"dummy"))).await;
        assert_refused(answer, 404, &["BLOB_UNKNOWN"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_2_get_of_an_existing_blob_yields_200_and_its_bytes() {
    play(async |content, hubcap| {
        for digest in &content.image.blobs {
            let answer = hubcap.get(&blob(NAME, digest)).await;
            assert_eq!((answer.status().as_u16(), &header(&answer, "docker-content-digest")), (200, digest));
            assert_eq!(Some(answer.bytes().await.expect("a body")), content.origin.blob(digest));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_3_head_of_a_nonexistent_manifest_yields_404() {
    play(async |_, hubcap| {
        for reference in [NONEXISTENT, "nobody", &sha256(b"dummy")] {
            // What is no reference at all may be a 400.
            let status = hubcap.head(&manifest(NAME, reference)).await.status().as_u16();
            assert!(status == 404 || (status == 400 && reference == NONEXISTENT), "{reference}: {status}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_3_head_of_a_manifest_by_tag_and_by_digest_yields_200() {
    play(async |content, hubcap| {
        for reference in [TAGS[1], &content.image.digest] {
            let accept = [("accept", media_type::OCI_MANIFEST)];
            let answer = hubcap.ask(Method::HEAD, &manifest(NAME, reference), &accept).await;
            assert_eq!(answer.status(), 200, "{reference}");
            assert_eq!(header(&answer, "docker-content-digest"), content.image.digest);
            assert_eq!(header(&answer, "content-type"), media_type::OCI_MANIFEST);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_3_get_of_a_nonexistent_manifest_yields_404() {
    play(async |_, hubcap| {
        for reference in ["nobody", &sha256(b"dummy")] {
            let answer = hubcap.get(&manifest(NAME, reference)).await;
            assert_refused(answer, 404, &["MANIFEST_UNKNOWN"]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_3_get_of_a_manifest_by_tag_and_by_digest_yields_200_and_its_bytes() {
    play(async |content, hubcap| {
        for reference in [TAGS[2], &content.image.digest] {
            let accept = [("accept", media_type::OCI_MANIFEST)];
            let answer = hubcap.ask(Method::GET, &manifest(NAME, reference), &accept).await;
            assert_eq!(answer.status(), 200, "{reference}");
            assert_eq!(header(&answer, "docker-content-digest"), content.image.digest);
            assert_eq!(answer.bytes().await.expect("a body"), content.image.manifest);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_3_a_400_has_the_specifications_json() {
    play(async |_, hubcap| {
        let answer = hubcap.get(&manifest(NAME, "sha256:totallywrong")).await;
        assert_refused(answer, 400, &["DIGEST_INVALID"]).await;
    })
    .await;
}

/// The tags of a list.
async fn tags(hubcap: &Hubcap, query: &str) -> Vec<String> {
    let answer = hubcap.get(&format!("/v2/{NAME}/tags/list{query}")).await;
    assert_eq!(answer.status(), 200, "{query}");
    let body = json_of(answer).await;
    assert_eq!(body["name"], NAME);
    let tags = body["tags"].as_array().expect("a list");
    tags.iter().map(|tag| tag.as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn end_8a_the_list_of_tags_yields_200() {
    play(async |_, hubcap| assert_eq!(tags(hubcap, "").await, TAGS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_8b_the_number_of_tags_is_limited_by_n() {
    play(async |_, hubcap| assert_eq!(tags(hubcap, "?n=2").await, TAGS[..2])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_8b_the_list_begins_behind_last() {
    play(async |_, hubcap| {
        assert_eq!(tags(hubcap, &format!("?n=2&last={}", TAGS[1])).await, TAGS[2..]);
        assert_eq!(tags(hubcap, &format!("?last={}", TAGS[2])).await, TAGS[3..]);
    })
    .await;
}

/// The referrers of a subject, and what filters were applied.
async fn referrers(hubcap: &Hubcap, subject: &str, query: &str) -> (Vec<Value>, String) {
    let answer = hubcap.get(&format!("/v2/{NAME}/referrers/{subject}{query}")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "content-type"), media_type::OCI_INDEX);
    let applied = header(&answer, "oci-filters-applied");
    let body = json_of(answer).await;
    assert_eq!((&body["schemaVersion"], &body["mediaType"]), (&json!(2), &json!(media_type::OCI_INDEX)));
    (body["manifests"].as_array().expect("a list").clone(), applied)
}

#[tokio::test(flavor = "multi_thread")]
async fn end_12a_referrers_of_what_does_not_exist_are_an_empty_list() {
    play(async |_, hubcap| {
        assert_eq!(referrers(hubcap, &sha256(b"dummy"), "").await, (vec![], String::new()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_12a_referrers_of_a_manifest_are_listed_with_their_annotations() {
    play(async |content, hubcap| {
        let (found, applied) = referrers(hubcap, &content.image.digest, "").await;
        assert_eq!((found.len(), applied.as_str()), (5, ""));
        assert_ne!(found[0]["digest"], found[1]["digest"]);
        for (number, one) in found.iter().enumerate() {
            assert_eq!(
                one["annotations"],
                json!({"org.opencontainers.conformance.test": number.to_string()})
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_12a_referrers_of_a_manifest_that_is_missing_are_listed() {
    play(async |content, hubcap| {
        assert_eq!(referrers(hubcap, &content.missing, "").await.0.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_12b_referrers_are_filtered_by_their_type() {
    play(async |content, hubcap| {
        let filter = format!("?artifactType={}", KINDS[1]);
        let (found, applied) = referrers(hubcap, &content.image.digest, &filter).await;
        assert_eq!((found.len(), applied.as_str()), (2, "artifactType"));
        assert!(found.iter().all(|one| one["artifactType"] == KINDS[1]));
    })
    .await;
}
