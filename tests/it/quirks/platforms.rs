//! Platforms: what Docker chooses of an index, `hubcap pull` and `hubcap export` choose as well.

use std::path::Path;
use std::process::Output;

use hubcap_oci::media_type;
use serde_json::{Value, json};

use crate::quirks::Situation;
use crate::support::hubcap::{Place, command};
use crate::support::image::{self, Image, sha256};
use crate::support::origin::Origin;

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("many", "amd64/v3 before amd64 in an index", |origin| {
        put(origin, &[("linux/amd64/v3", 1), ("linux/amd64", 2)]);
    }),
    Situation::pull("many", "an index with 386 alone", |origin| put(origin, &[("linux/386", 1)])),
    Situation::pull("many", "an index that does not say what its one manifest is for", |origin| {
        put(origin, &[("-", 1)]);
    }),
    Situation::pull("many", "an index that says of one manifest only what it is for", |origin| {
        put(origin, &[("-", 1), ("linux/amd64", 2)]);
    }),
    Situation::pull("many", "an index of indexes", |origin| {
        put(origin, &[("linux/arm64", 1), ("linux/amd64", 2)]);
        let (_, inner) = origin.manifest("org/app", "1").expect("the index");
        let entry =
            json!({"mediaType": media_type::OCI_INDEX, "digest": sha256(&inner), "size": inner.len()});
        put_index(origin, "org/app:1", &[entry]);
    }),
    Situation::pull("many", "an index that names what the registry does not have", |origin| {
        put(origin, &[("linux/amd64", 1)]);
        let mut entries = entries(origin);
        entries.push(entry(&sha256(b"nothing"), "linux/s390x"));
        put_index(origin, "org/app:1", &entries);
    }),
];

/// An index over images that clients take, one for each seed, with platforms as the index says them; "-" for none.
fn put(origin: &Origin, images: &[(&str, u64)]) {
    let images: Vec<_> = images
        .iter()
        .map(|(platform, seed)| (platform, image::real_at(origin, &format!("org/app:child-{seed}"), *seed)))
        .collect();
    let entries: Vec<Value> = images.iter().map(|(platform, image)| entry(&image.digest, platform)).collect();
    put_index(origin, "org/app:1", &entries);
}

fn entry(digest: &str, platform: &str) -> Value {
    let mut entry = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 400});
    if platform != "-" {
        let mut parts = platform.split('/');
        entry["platform"] = json!({"os": parts.next(), "architecture": parts.next()});
        if let Some(variant) = parts.next() {
            entry["platform"]["variant"] = json!(variant);
        }
    }
    entry
}

fn entries(origin: &Origin) -> Vec<Value> {
    let (_, index) = origin.manifest("org/app", "1").expect("the index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    index["manifests"].as_array().expect("a list").clone()
}

fn put_index(origin: &Origin, name: &str, entries: &[Value]) -> String {
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    origin.put_manifest(name, media_type::OCI_INDEX, index.to_string().as_bytes())
}

/// Runs a command that fetches from the origin, as `docker.io`.
async fn fetch(place: &Place, origin: &Origin, arguments: &[&str]) -> Output {
    let mut command = command(place.dir.path());
    command.args(arguments).arg("--store").arg(place.store());
    if arguments[0] != "ls" {
        command.arg("--state").arg(place.state());
        command.args(["--upstream", &format!("docker.io={}", origin.url())]);
    }
    tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic")
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An image whose configuration says this platform.
fn image_for(origin: &Origin, name: &str, architecture: &str) -> Image {
    image::put_for(origin, name, &[name.as_bytes()], architecture)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_takes_the_best_that_fits_as_docker_does() {
    let offered =
        ["linux/amd64/v3", "linux/amd64", "linux/arm/v5", "linux/arm/v6", "linux/arm64/v8", "windows/amd64"];
    for (wanted, expected) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v4", "linux/amd64/v3"),
        ("linux/arm/v7", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/aarch64", "linux/arm64/v8"),
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        let mut entries = Vec::new();
        let mut digests = Vec::new();
        for platform in offered {
            let image = image_for(&origin, &format!("org/app:{}", platform.replace('/', "-")), "amd64");
            entries.push(entry(&image.digest, platform));
            digests.push((platform, image.digest));
        }
        put_index(&origin, "org/app:1", &entries);
        let output = fetch(&place, &origin, &["pull", "org/app:1", "--platform", wanted]).await;
        assert!(output.status.success(), "{wanted}: {}", told(&output));
        let here = place.blobs();
        let chosen: Vec<&str> = digests
            .iter()
            .filter(|(_, digest)| here.contains(digest))
            .map(|(platform, _)| *platform)
            .collect();
        assert_eq!(chosen, [expected], "{wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let (origin, place) = (Origin::start().await, Place::new());
    let (arm, intel) =
        (image_for(&origin, "org/app:arm", "arm64"), image_for(&origin, "org/app:intel", "amd64"));
    put_index(
        &origin,
        "org/app:1",
        &[entry(&arm.digest, "linux/arm64"), entry(&intel.digest, "linux/amd64/v3")],
    );
    put_index(&origin, "org/app:2", &[entry(&arm.digest, "-")]);
    put_index(&origin, "org/app:3", &[]);
    for (image, offered) in [
        ("org/app:1", "there is nothing for linux/amd64; the image is for linux/arm64, linux/amd64/v3"),
        ("org/app:2", "there is nothing for linux/amd64; the image is for linux/arm64"),
        ("org/app:3", "there is nothing for linux/amd64; it names no platform"),
    ] {
        let output = fetch(&place, &origin, &["pull", image, "--platform", "linux/amd64"]).await;
        assert_eq!(output.status.code(), Some(1), "{image}");
        assert!(told(&output).contains(offered), "{image}: {}", told(&output));
    }
    // A manifest for another platform is pulled, as Docker pulls it, with a word.
    let output = fetch(&place, &origin, &["pull", "org/app:arm", "--platform", "linux/amd64"]).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("note: it is for linux/arm64 alone"), "{}", told(&output));
    let output = fetch(&place, &origin, &["pull", "org/app:intel", "--platform", "linux/amd64"]).await;
    assert!(output.status.success() && !told(&output).contains("note:"), "{}", told(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_do_not_say_what_they_are_for_are_looked_into() {
    let (origin, place) = (Origin::start().await, Place::new());
    let (arm, intel) =
        (image_for(&origin, "org/app:arm", "arm64"), image_for(&origin, "org/app:intel", "amd64"));
    let mut half = entry(&arm.digest, "-");
    half["platform"] = json!({"os": "linux"});
    let inner = put_index(
        &origin,
        "org/app:inner",
        &[entry(&sha256(b"nothing"), "-"), half, entry(&intel.digest, "-")],
    );
    let mut nested = entry(&inner, "-");
    nested["mediaType"] = json!(media_type::OCI_INDEX);
    put_index(&origin, "org/app:1", &[entry(&sha256(b"attested"), "unknown/unknown"), nested]);
    let file = place.dir.path().join("image.tar");
    let output = fetch(&place, &origin, &["pull", "org/app:1", "--platform", "linux/amd64"]).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(intel.blobs.iter().all(|digest| place.blobs().contains(digest)), "{}", told(&output));
    assert!(!place.blobs().contains(&arm.blobs[1]));
    // The same choice for an export, and the platforms for a lock.
    let path = file.to_str().expect("text");
    let output =
        fetch(&place, &origin, &["export", "org/app:1", "--platform", "linux/amd64", "--output", path]).await;
    assert!(output.status.success(), "{}", told(&output));
    assert!(has(&file, intel.blobs[0].trim_start_matches("sha256:")));
}

/// Whether a tar has a member whose name has this in it.
fn has(file: &Path, part: &str) -> bool {
    let mut archive = tar::Archive::new(std::fs::File::open(file).expect("the archive"));
    let mut entries = archive.entries().expect("entries");
    entries.any(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_layer_that_the_registry_does_not_have_is_left_out_with_a_word() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image_for(&origin, "org/app:plain", "amd64");
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
    let foreign = json!({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"elsewhere"), "size": 9, "urls": ["https://example.com/layer"]});
    manifest["layers"].as_array_mut().expect("layers").insert(0, foreign);
    origin.put_manifest("org/app:1", media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
    let output = fetch(&place, &origin, &["pull", "org/app:1"]).await;
    assert!(output.status.success(), "{}", told(&output));
    let told = told(&output);
    assert!(
        told.contains("a foreign layer is left out") && told.contains("https://example.com/layer"),
        "{told}"
    );
    assert!(image.blobs.iter().all(|digest| place.blobs().contains(digest)));
    let listed = fetch(&place, &origin, &["ls"]).await;
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("incomplete"));
}
