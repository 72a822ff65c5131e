//! Attestations, their signatures and the lists of them: as a client of today pulls them, and fetched before it does.

use std::process::Output;
use std::time::Duration;

use super::dockerd29::{Attested, BUNDLE, pull};
use super::{list, path, tag_of};
use crate::support::hubcap::{Hubcap, Place, manifest, run};
use crate::support::image::{self, Image};
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};
use http::Method;
use hubcap_oci::media_type;
use serde_json::{Value, json};

pub(super) fn at(place: &Place, origin: &Origin, arguments: &[&str]) -> Output {
    let (store, state) = (place.store(), place.state());
    let upstream = format!("docker.io={}", origin.url());
    let (verb, rest) = arguments.split_first().expect("a verb");
    let (store, state) = (store.to_str().expect("text"), state.to_str().expect("text"));
    let common = ["--store", store, "--state", state, "--upstream", &upstream];
    run(place.dir.path(), &[&[*verb], common.as_slice(), rest].concat())
}

pub(super) fn succeeds(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything that dockerd 29 has after a pull.
fn everything(image: &Attested) -> Vec<String> {
    let Attested { index, amd, attestation, signature, .. } = image;
    let mut all = vec![index.clone()];
    for one in [amd, attestation, signature] {
        all.push(one.digest.clone());
        all.extend(one.blobs.clone());
    }
    all.sort();
    all.dedup();
    all
}

async fn pulls_all(hubcap: &Hubcap, image: &Attested) {
    assert_eq!(pull(hubcap).await, Ok(everything(image)), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerd_29_pulls_cold_warm_and_without_the_origin() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    pulls_all(&hubcap, &image).await;
    origin.forget();
    pulls_all(&hubcap, &image).await;
    assert_eq!(origin.log().len(), 0, "nothing is asked for again");
    origin.die().await;
    pulls_all(&hubcap, &image).await;
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    pulls_all(&hubcap, &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hubcap_pull_fetches_is_all_that_dockerd_29_asks_for() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
    let stored = place.blobs();
    assert!(everything(&image).iter().all(|digest| stored.contains(digest)));
    for other in [&image.arm, &image.arm_attestation] {
        assert!(!stored.contains(&other.digest), "what is for another platform stays there");
    }
    origin.forget();
    succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
    assert_eq!(origin.log().len(), 0, "{:?}", origin.log());
    let hubcap = place.start(&origin.url(), &[]);
    // The lists of the image itself are there as well, and empty.
    for subject in [&image.index, &image.amd.digest] {
        let (found, told) = list(&hubcap, &path("app", subject)).await;
        assert_eq!(found, serde_json::json!([]));
        assert!(told.starts_with("hubcap; hit; ttl="), "{told}");
    }
    pulls_all(&hubcap, &image).await;
    assert_eq!(origin.log().len(), 0);
    origin.die().await;
    pulls_all(&hubcap, &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_attestations_lists_or_signatures_fails_no_pull() {
    for (part, fault) in [
        ("/referrers/", quirk::status(500)),
        ("/referrers/", quirk::status(403)),
        ("signed", quirk::status(404)),
        ("attestation", quirk::status(404)),
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = Attested::put(&origin);
        let part = match part {
            "signed" => image.signature.digest.clone(),
            "attestation" => image.attestation.digest.clone(),
            part => part.to_owned(),
        };
        origin.quirk(&part, fault);
        let told = succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
        assert!(told.contains("note: "), "{part}: {told}");
        let stored = place.blobs();
        assert!(image.amd.blobs.iter().all(|digest| stored.contains(digest)), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_ahead_takes_the_attestation_of_the_manifest_that_is_asked_for() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    let hubcap = place.start(&origin.url(), &["--read-ahead"]);
    for reference in [&image.index, &image.amd.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    eventually("all is there", || {
        let stored = place.blobs();
        everything(&image).iter().all(|digest| stored.contains(digest))
    })
    .await;
    assert!(!place.blobs().contains(&image.arm_attestation.digest));
    origin.forget();
    pulls_all(&hubcap, &image).await;
    assert_eq!(origin.count(&Method::GET, "/referrers/"), 0);
}

/// Waits until the origin has not been asked for anything for a while.
async fn quiet(origin: &Origin) {
    let mut asked = usize::MAX;
    while origin.log().len() != asked {
        asked = origin.log().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn little_is_fetched_ahead_of_an_image_however_much_it_names() {
    let (origin, place) = (Origin::start().await, Place::new());
    let layers: Vec<Vec<u8>> = (0..200).map(|n| noise(10, n)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = image::put(&origin, "library/app:amd", &layers);
    let [other, attestation] = ["other", "last"]
        .map(|name| image::put_for(&origin, &format!("library/app:{name}"), &[name.as_bytes()], "unknown"));
    let attests = |one: &Image| {
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": one.digest, "size": one.manifest.len(),
            "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image.digest}})
    };
    let index = super::index(&[attests(&other), attests(&attestation)]);
    let index = origin.put_manifest("library/app:1", media_type::OCI_INDEX, index.to_string().as_bytes());
    let signatures: Vec<Image> = (0..40)
        .map(|n| {
            let layers = &layers[130 + n..150 + n];
            image::put_for(&origin, &format!("library/app:s{n}"), layers, "unknown")
        })
        .collect();
    let listed: Vec<Value> = signatures.iter().map(|one| super::entry(BUNDLE, &one.manifest)).collect();
    origin.put_referrers(&attestation.digest, super::index(&listed));
    let hubcap = place.start(&origin.url(), &["--read-ahead"]);
    for reference in [&index, &image.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    eventually("signatures come", || origin.count(&Method::GET, &signatures[7].digest) == 1).await;
    quiet(&origin).await;
    // The index, the image, its last attestation and eight signatures.
    assert_eq!(origin.count(&Method::GET, "/manifests/"), 11);
    assert_eq!(origin.count(&Method::GET, "/referrers/"), 1);
    // A configuration and as many layers of the image as are mounted; two blobs of the attestation; seven layers of each
    // signature, of which the next one has six, and the attestation's configuration.
    assert_eq!(origin.count(&Method::GET, "/blobs/"), 128 + 2 + 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attestation_is_fetched_ahead_where_the_registrys_limit_is_near() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    origin.quirk(
        "/manifests/",
        quirk::change(|reply| {
            reply.with("ratelimit-limit", "100;w=21600").with("ratelimit-remaining", "9;w=21600")
        }),
    );
    let hubcap = place.start(&origin.url(), &["--read-ahead"]);
    for reference in [&image.index, &image.amd.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    eventually("the list comes", || origin.count(&Method::GET, "/referrers/") == 1).await;
    quiet(&origin).await;
    assert_eq!(origin.count(&Method::GET, "/manifests/"), 2);
    pulls_all(&hubcap, &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_and_lock_know_an_attestation_from_an_image() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    // Only an attestation is there as a whole: that is no image.
    let hubcap = place.start(&origin.url(), &[]);
    for reference in ["1", &image.attestation.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    for digest in &image.attestation.blobs {
        hubcap.get(&crate::support::hubcap::blob("app", digest)).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let listed = succeeds(&run_at(&place, "ls", &[]));
    assert!(listed.contains("incomplete") && !listed.contains("unknown"), "{listed}");
    succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
    let listed = succeeds(&run_at(&place, "ls", &[]));
    assert!(listed.contains("linux/amd64") && !listed.contains("unknown"), "{listed}");
    assert!(!listed.contains("incomplete") && !listed.contains("referrers"), "{listed}");
    let file = place.dir.path().join("hubcap.lock");
    succeeds(&run_at(&place, "lock", &["--all", "-o", file.to_str().expect("text")]));
    let lock = std::fs::read_to_string(&file).expect("a lock");
    assert!(lock.contains(&image.index) && lock.contains(&image.amd.digest), "{lock}");
    assert!(!lock.contains("unknown") && !lock.contains(&image.attestation.digest), "{lock}");
    // Frozen, dockerd 29 pulls all the same.
    let frozen = format!("--frozen={}", file.display());
    let hubcap = place.start(&origin.url(), &[&frozen]);
    pulls_all(&hubcap, &image).await;
}

pub(super) fn run_at(place: &Place, verb: &str, more: &[&str]) -> Output {
    let (store, state) = (place.store(), place.state());
    let mut all = vec![verb, "--store", store.to_str().expect("text")];
    if matches!(verb, "lock" | "export") {
        all.extend(["--state", state.to_str().expect("text")]);
    }
    all.extend(more);
    run(place.dir.path(), &all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_under_a_tag_is_fetched_ahead_like_any_other() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    origin.quirk("/referrers/", quirk::status(404));
    let found = super::index(&[super::entry(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        &image.signature.manifest,
    )]);
    let name = format!("library/app:{}", tag_of(&image.attestation.digest));
    origin.put_manifest(&name, media_type::OCI_INDEX, found.to_string().as_bytes());
    succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
    let hubcap = place.start(&origin.url(), &[]);
    origin.die().await;
    pulls_all(&hubcap, &image).await;
}
