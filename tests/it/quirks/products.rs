//! What real registries do otherwise than Docker Hub, each as it was seen.

use reqwest::Method;

use crate::quirks::Situation;
use crate::support::hubcap::{Place, blob, header, manifest, status};
use crate::support::image;
use crate::support::noise;
use crate::support::origin::{Origin, Role, quirk};

const LAYER: usize = 600_000;

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("Docker Hub", "tokens from one host, blobs from another, by signed URLs", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
    }),
    Situation::pull("gcr.io", "the challenge is at `/v2/` only", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("/v2/org", quirk::silent());
    }),
    Situation::pull("Artifact Registry", "relative Locations, and headers of 200 KiB", |origin| {
        origin.like_docker_hub(None);
        let digest = image::real(origin).blobs.remove(1);
        origin.quirk("artifacts-downloads", quirk::headers(200 << 10));
        let location = format!("/artifacts-downloads/x/blobs/{digest}?sig=s3cret");
        origin.quirk(&format!("/v2/org/app/blobs/{digest}"), quirk::redirect(302, location));
    }),
    Situation::pull("mcr.microsoft.com", "a regional host has the blobs", |origin| {
        origin.like_docker_hub(None);
        let digest = image::real(origin).blobs.remove(1);
        let location = format!("{}/v2/org/app/blobs/{digest}?sig=s3cret", origin.region());
        origin.quirk(&format!("/v2/org/app/blobs/{digest}"), quirk::redirect(307, location));
    }),
    Situation::pull("Quay", "a signed URL has run out when it is used", |origin| {
        origin.like_docker_hub(None);
        image::real(origin);
        origin.quirk("X-Amz-Signature", quirk::status_once(403));
    }),
    Situation::tags("every registry", "tags come in pages", |origin| {
        for tag in ["1", "2", "3"] {
            image::put(origin, &format!("org/app:{tag}"), &[b"layer"]);
        }
        origin.quirk("tags/list", quirk::pages_of(2));
    }),
];

/// An origin with one image that behaves as Docker Hub does, for a registry of this name.
async fn start(registry: &str) -> (Origin, Place, crate::support::hubcap::Hubcap, Vec<u8>, image::Image) {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    let layer = noise(LAYER, 7);
    let image = image::put(&origin, "org/app:1", &[&layer]);
    let hubcap = place.start("http://127.0.0.1:9", &["--upstream", &format!("{registry}={}", origin.url())]);
    (origin, place, hubcap, layer, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn ghcr_wants_a_token_for_public_images_and_its_referrers_are_a_web_page() {
    let (origin, _place, hubcap, _, image) = start("ghcr.io").await;
    let name = "ghcr.io/org/app";
    assert_eq!(hubcap.get(&manifest(name, "1")).await.status(), 200);
    for fault in [quirk::redirect(303, "https://github.com/-/v2/packages"), quirk::status(404)] {
        origin.heal();
        origin.quirk("/referrers/", fault);
        let answer = hubcap.get(&format!("/v2/{name}/referrers/{}", image.digest)).await;
        assert_eq!(answer.status(), 200);
        let index: serde_json::Value =
            serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(0));
    }
    // The redirect's target is signed for GETs, and says 403 to a HEAD.
    origin.quirk("X-Amz-Signature", quirk::no_head(403));
    let answer = hubcap.head(&blob(name, &image.blobs[1])).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-length")), (200, LAYER.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_that_has_run_out_is_asked_for_again_in_the_middle_of_a_blob_too() {
    let (origin, _place, hubcap, layer, image) = start("quay.io").await;
    let name = "quay.io/org/app";
    let signed = "X-Amz-Signature";
    origin.quirk(signed, quirk::status_once(403));
    let answer = hubcap.get(&blob(name, &image.blobs[0])).await;
    assert_eq!(answer.status(), 200);
    let asked = origin.log();
    let redirects = asked.iter().filter(|one| {
        one.host == Role::Registry && one.target.contains(&image.blobs[0]) && one.authorization.is_some()
    });
    assert!(redirects.count() >= 2, "it was asked for a new one: {asked:?}");
    origin.quirk(signed, quirk::cut_once(300_000));
    origin.quirk(signed, quirk::status_once(403));
    origin.quirk(signed, quirk::status_once(403));
    origin.quirk(signed, quirk::status_once(403));
    let answer = hubcap.get(&blob(name, &image.blobs[1])).await;
    assert!(answer.bytes().await.expect("the whole") == layer);
    // Where none helps, it is not the registry that says no.
    origin.quirk(signed, quirk::status(403));
    let other = origin.put_blob(b"other");
    let answer = hubcap.get(&blob(name, &other)).await;
    assert_eq!(answer.status(), 404);
    let told = answer.text().await.expect("a body");
    assert!(told.contains("redirects to") && told.contains("403"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ecrs_too_many_requests_are_not_answered_with_more() {
    let (origin, _place, hubcap, _, _) = start("public.ecr.aws").await;
    origin.quirk("/v2/org", quirk::retry_after(429, 60));
    for tag in 0..20 {
        let answer = hubcap.get(&manifest("public.ecr.aws/org/app", &tag.to_string())).await;
        assert_eq!(answer.status(), 404);
        let told = answer.text().await.expect("a body");
        assert!(told.contains("rate limit"), "{told}");
    }
    assert_eq!(origin.count(&Method::GET, "/v2/org"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlabs_tokens_come_from_another_host() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(Some("me:hunter2"));
    image::put(&origin, "org/app:1", &[b"layer"]);
    let mut command =
        place.serve("http://127.0.0.1:9", &["--upstream", &format!("registry.gitlab.com={}", origin.url())]);
    command.env("HUBCAP_LOGIN", "registry.gitlab.com=me:hunter2");
    let hubcap = crate::support::hubcap::Hubcap::spawn(command);
    assert_eq!(hubcap.get(&manifest("registry.gitlab.com/org/app", "1")).await.status(), 200);
    let token = origin.log().into_iter().find(|asked| asked.host == Role::Token).expect("a token");
    assert!(token.authorization.is_some_and(|value| value.starts_with("Basic ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn gcr_says_what_it_wants_at_v2_only() {
    let (origin, _place, hubcap, _, image) = start("gcr.io").await;
    origin.quirk("/v2/org", quirk::silent());
    let answer = hubcap.get(&manifest("gcr.io/org/app", "1")).await;
    assert_eq!(answer.status(), 200, "{}", status(&answer));
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
    assert_eq!(origin.log().iter().filter(|asked| asked.target == "/v2/").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn artifact_registrys_relative_locations_and_huge_headers_are_followed() {
    let (origin, _place, hubcap, layer, image) = start("us-docker.pkg.dev").await;
    let digest = &image.blobs[1];
    origin.quirk("artifacts-downloads", quirk::headers(200 << 10));
    origin.quirk(
        "/v2/org/app/blobs",
        quirk::redirect(302, format!("/artifacts-downloads/x/blobs/{digest}?sig=s3cret")),
    );
    let answer = hubcap.get(&blob("us-docker.pkg.dev/org/app", digest)).await;
    assert!(answer.bytes().await.expect("the whole") == layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcrs_regional_hosts_are_followed_without_the_token() {
    let (origin, _place, hubcap, layer, image) = start("mcr.microsoft.com").await;
    let digest = &image.blobs[1];
    let location = format!("{}/v2/org/app/blobs/{digest}?X-Amz-Signature=s3cret-signature", origin.region());
    origin.quirk("/v2/org/app/blobs", quirk::redirect(307, location));
    let answer = hubcap.get(&blob("mcr.microsoft.com/org/app", digest)).await;
    assert!(answer.bytes().await.expect("the whole") == layer);
    let log = origin.log();
    let cdn: Vec<_> = log.iter().filter(|asked| asked.host == Role::Cdn).collect();
    assert!(!cdn.is_empty() && cdn.iter().all(|asked| asked.authorization.is_none()));
    assert!(!hubcap.log().contains("s3cret"));
}
