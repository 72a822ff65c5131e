//! A registry with several origins: the first decides, the others have the same bytes.

mod missing;
mod private;

use reqwest::Method;

use crate::quirks::{REGISTRY, REPOSITORY, TAG};
use crate::support::hubcap::{Hubcap, Place, blob, header, manifest, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::{Origin, Parts, Reply, quirk};
use crate::support::programs::program;

/// Long enough to be cut in the middle, and longer than what is held back.
const LAYER: usize = 3_000_000;
const NOBODY: &str = "http://127.0.0.1:9";

fn name() -> String {
    format!("{REGISTRY}/{REPOSITORY}")
}

/// Two origins that have the same image.
async fn two() -> (Origin, Origin, Image, Vec<u8>) {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let layer = noise(LAYER, 11);
    let image = image::put(&first, &format!("{REPOSITORY}:{TAG}"), &[&layer]);
    image::put(&second, &format!("{REPOSITORY}:{TAG}"), &[&layer]);
    (first, second, image, layer)
}

/// A hubcap that asks these origins in their order.
fn start(place: &Place, origins: &[&Origin], more: &[&str]) -> Hubcap {
    let urls: Vec<String> = origins.iter().map(|origin| origin.url()).collect();
    let upstream = format!("{REGISTRY}={}", urls.join(","));
    let arguments = [&["--upstream", upstream.as_str(), "--upstream-timeout", "2s"], more].concat();
    place.start(NOBODY, &arguments)
}

async fn get(hubcap: &Hubcap, path: &str) -> (u16, Vec<u8>) {
    let answer = hubcap.get(path).await;
    let code = answer.status().as_u16();
    // A body that is cut is none.
    (code, answer.bytes().await.map(|bytes| bytes.to_vec()).unwrap_or_default())
}

/// How often a blob was asked for.
fn blobs_asked(origin: &Origin) -> usize {
    origin.count(&Method::GET, "/blobs/")
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_is_in_trouble_another_gives_what_its_manifest_names() {
    for trouble in [
        None,
        Some(quirk::hang()),
        Some(quirk::status(500)),
        Some(quirk::status(429)),
        Some(quirk::retry_after(429, 60)),
        Some(quirk::retry_after(503, 60)),
        Some(quirk::html()),
        Some(quirk::empty()),
        Some(quirk::redirect_loop()),
        Some(quirk::flip()),
    ] {
        let ((mut first, second, image, layer), place) = (two().await, Place::new());
        let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
        assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
        assert_eq!(second.log().len(), 0, "the first has answered");
        match trouble {
            None => first.die().await,
            Some(trouble) => first.quirk("/v2/", trouble),
        }
        let mut got = get(&hubcap, &blob(&name(), &image.blobs[1])).await;
        if got.1 != layer {
            // Wrong bytes are noticed at their end: the client is cut off, and asks again.
            got = get(&hubcap, &blob(&name(), &image.blobs[1])).await;
        }
        assert!(got == (200, layer), "{}", hubcap.log());
        assert_eq!(get(&hubcap, &blob(&name(), &image.blobs[0])).await.0, 200, "a small one");
        get(&hubcap, &blob(&name(), &image.blobs[1])).await;
        let again = hubcap.get(&blob(&name(), &image.blobs[1])).await;
        assert_eq!(status(&again), "hubcap; hit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_which_nothing_is_stored_comes_from_who_gives_it_to_everybody() {
    let ((mut first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &[]);
    first.die().await;
    let answer = hubcap.head(&blob(&name(), &image.blobs[1])).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-length")), (200, LAYER.to_string()));
    for _ in 0..2 {
        let answer = hubcap.get(&manifest(&name(), &image.digest)).await;
        assert_eq!(answer.status(), 200, "{}", hubcap.log());
        assert_eq!(status(&answer), "hubcap; fwd=miss; detail=other-origin");
        assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
        let answer = hubcap.get(&blob(&name(), &image.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; detail=other-origin");
        assert!(answer.bytes().await.expect("a body") == layer);
    }
    // The first has not said that it is public.
    assert!(place.blobs().is_empty(), "{:?}", place.blobs());
    // A tag is the first's to decide.
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 404);
    assert_eq!(second.count(&Method::GET, &format!("manifests/{TAG}")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_firsts_no_is_the_answer() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &[]);
    for (refusal, code) in [(404, 404), (401, 403), (403, 403)] {
        first.heal();
        first.quirk("/v2/", quirk::status(refusal));
        // Each is asked for once: a no is remembered for a while.
        let (reference, digest) = match refusal {
            404 => (TAG, &image.blobs[0]),
            401 => (image.digest.as_str(), &image.blobs[1]),
            _ => ("another", &image.digest),
        };
        assert_eq!(get(&hubcap, &manifest(&name(), reference)).await.0, code);
        assert_eq!(get(&hubcap, &blob(&name(), digest)).await.0, code);
    }
    assert_eq!(second.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_goes_on_at_the_next_origin_at_the_byte_where_it_stopped() {
    for cut in [1, 100_000, LAYER - 1] {
        let ((first, second, image, layer), place) = (two().await, Place::new());
        let hubcap = start(&place, &[&first, &second], &[]);
        get(&hubcap, &manifest(&name(), TAG)).await;
        first.quirk(&image.blobs[1], quirk::cut_once(cut));
        first.quirk(&image.blobs[1], quirk::status(500));
        // The second quirk sees what the first one lets pass: everything after the cut.
        assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
        let ranges: Vec<_> = second.log().into_iter().filter_map(|asked| asked.range).collect();
        // A little earlier than it broke, to see whether it is the same content.
        let from = if cut < 256 { cut } else { cut - 256 };
        assert_eq!(ranges, [format!("bytes={from}-")]);
        assert!(hubcap.log().contains("is left for"), "{}", hubcap.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_never_delivered_and_the_next_origin_is_asked() {
    let ((mut first, second, image, layer), place) = (two().await, Place::new());
    let third = Origin::start().await;
    image::put(&third, &format!("{REPOSITORY}:{TAG}"), &[&layer]);
    let hubcap = start(&place, &[&first, &second, &third], &["--tag-ttl", "1h"]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.die().await;
    second.quirk("/v2/", quirk::flip());
    // What is sent before it is known can only be cut.
    let (code, got) = get(&hubcap, &blob(&name(), &image.blobs[1])).await;
    assert!(code == 200 && got.is_empty(), "cut");
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    // Nothing of a small one is sent before, so its client does not notice.
    assert_eq!(get(&hubcap, &blob(&name(), &image.blobs[0])).await.0, 200, "{}", hubcap.log());
    // Nor is anything of a manifest.
    let other = image::put(&third, &format!("{REPOSITORY}:2"), &[b"other"]);
    image::put(&second, &format!("{REPOSITORY}:2"), &[b"other"]);
    let got = get(&hubcap, &manifest(&name(), &other.digest)).await;
    assert_eq!(got, (200, other.manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_does_not_have_it_is_passed_over() {
    let ((mut first, _, image, layer), place) = (two().await, Place::new());
    let (empty, third) = (Origin::start().await, Origin::start().await);
    image::put(&third, &format!("{REPOSITORY}:{TAG}"), &[&layer]);
    let hubcap = start(&place, &[&first, &empty, &third], &["--tag-ttl", "1h"]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.die().await;
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    assert_eq!(blobs_asked(&empty), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_crawls_is_left_in_mid_blob() {
    let ((first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &[]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.quirk(&image.blobs[1], quirk::throttle(50_000, Parts::Refused));
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    assert_eq!(blobs_asked(&second), 1, "it is left once");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_others_fail_the_slow_origin_goes_on() {
    let ((first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &[]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.quirk(&image.blobs[1], quirk::throttle(240_000, Parts::Refused));
    second.quirk("/v2/", quirk::status(404));
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    assert_eq!(blobs_asked(&second), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origins_tag_is_used_only_where_that_is_asked_for_and_is_marked() {
    let ((mut first, second, image, _), place) = (two().await, Place::new());
    let older = image::put(&second, &format!("{REPOSITORY}:{TAG}"), &[b"older"]);
    let (lazy, eager) = (Place::new(), &place);
    let file = eager.dir.path().join("hubcap.toml");
    let text = format!(
        "[upstream.\"{REGISTRY}\"]\nurl = [\"{}\", \"{}\"]\nstale-tags = true\n",
        first.url(),
        second.url()
    );
    std::fs::write(&file, text).expect("written");
    let eager = eager.start(NOBODY, &["--config", file.to_str().expect("text"), "--tag-ttl", "0s"]);
    let lazy = start(&lazy, &[&first, &second], &[]);
    for hubcap in [&lazy, &eager] {
        assert_eq!(get(hubcap, &manifest(&name(), TAG)).await, (200, image.manifest.clone()));
    }
    first.quirk("/v2/", quirk::status(404));
    assert_eq!(get(&eager, &manifest(&name(), "2")).await.0, 404, "an answer, and no trouble");
    first.die().await;
    let third = image::put(&second, &format!("{REPOSITORY}:3"), &[b"third"]);
    assert_eq!(get(&lazy, &manifest(&name(), "3")).await.0, 404);
    assert_eq!(second.log().len(), 0);
    let answer = eager.get(&manifest(&name(), "3")).await;
    assert_eq!(status(&answer), "hubcap; fwd=miss; detail=stale-tag");
    assert_eq!(header(&answer, "docker-content-digest"), third.digest);
    assert!(eager.log().contains("may be older"), "{}", eager.log());
    // The first's own word is better, and was never replaced.
    assert_eq!(get(&eager, &manifest(&name(), TAG)).await, (200, image.manifest));
    assert_ne!(older.digest, image.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_docker_hubs_limit_a_head_tells_the_tag_and_another_origin_has_the_bytes() {
    let ((first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "0s"]);
    let limit = || quirk::answer(|asked| (asked.method == Method::GET).then(|| Reply::status(429)));
    first.quirk("/manifests/", limit());
    for _ in 0..3 {
        let got = get(&hubcap, &manifest(&name(), TAG)).await;
        assert_eq!(got, (200, image.manifest.clone()), "{}", hubcap.log());
    }
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    assert_eq!(second.count(&Method::GET, &format!("manifests/{TAG}")), 0, "the tag is the first's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_has_moved_comes_from_another_origin_when_the_firsts_get_fails() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "0s"]);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await, (200, image.manifest));
    let moved = image::put(&first, &format!("{REPOSITORY}:{TAG}"), &[b"moved"]);
    image::put(&second, &format!("{REPOSITORY}:2"), &[b"moved"]);
    first.quirk(
        "/manifests/",
        quirk::answer(|asked| (asked.method == Method::GET).then(|| Reply::status(500))),
    );
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await, (200, moved.manifest), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_circuit_of_one_origin_does_not_stop_the_others() {
    let ((first, second, ..), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    let mut images = Vec::new();
    for number in 0..8_u8 {
        let name = format!("{REPOSITORY}:n{number}");
        let image = image::put(&first, &name, &[&noise(50_000, u64::from(number) + 50)]);
        image::put(&second, &name, &[&noise(50_000, u64::from(number) + 50)]);
        assert_eq!(get(&hubcap, &manifest(&self::name(), &format!("n{number}"))).await.0, 200);
        images.push(image);
    }
    first.quirk("/blobs/", quirk::retry_after(429, 60));
    first.forget();
    for image in &images {
        assert_eq!(get(&hubcap, &blob(&name(), &image.blobs[1])).await.0, 200, "{}", hubcap.log());
    }
    assert_eq!(blobs_asked(&first), 1, "it has asked to be left alone");
    assert_eq!(blobs_asked(&second), images.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_asks_no_origin() {
    let ((first, second, image, _), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--offline"]);
    for path in [manifest(&name(), &image.digest), blob(&name(), &image.blobs[1])] {
        assert_eq!(get(&hubcap, &path).await.0, 404);
    }
    assert_eq!(first.log().len() + second.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_below_a_prefix_is_asked_for_the_repository_there() {
    let ((mut first, _, image, layer), place) = (two().await, Place::new());
    let mirror = Origin::start().await;
    image::put(&mirror, &format!("hub/{REPOSITORY}:{TAG}"), &[&layer]);
    let urls = format!("{REGISTRY}={},{}/v2/hub", first.url(), mirror.url());
    let hubcap = place.start(NOBODY, &["--upstream", &urls, "--tag-ttl", "1h"]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.die().await;
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
}

#[test]
fn a_list_of_origins_that_cannot_be_used_is_refused_at_the_start() {
    let place = Place::new();
    for (upstream, named) in [
        ("docker.io=https://a.example,https://a.example/", "twice"),
        ("docker.io=https://a.example,https://me:hunter2@b.example", "login"),
        ("docker.io=https://a.example,https://b.example?x=1", "query"),
    ] {
        let told =
            crate::support::hubcap::run(place.dir.path(), &["serve", "--check", "--upstream", upstream]);
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.code() == Some(2) && said.contains(named) && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_each_origin() {
    let ((mut first, second, image, _), place) = (two().await, Place::new());
    let urls = format!("{REGISTRY}={},{}", first.url(), second.url());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    get(&hubcap, &manifest(&name(), TAG)).await;
    first.die().await;
    for _ in 0..4 {
        get(&hubcap, &manifest(&name(), "cold")).await;
    }
    get(&hubcap, &blob(&name(), &image.blobs[1])).await;
    let mut command = crate::support::hubcap::command(place.dir.path());
    command.args(["doctor", "--upstream", &urls, "--upstream", &format!("docker.io={}", second.url())]);
    command.arg("--store").arg(place.store()).arg("--state").arg(place.state());
    let told =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let said = String::from_utf8_lossy(&told.stdout);
    let line = |url: &str| {
        said.lines().find(|line| line.contains(&format!("{REGISTRY} at {url}"))).unwrap_or_default()
    };
    assert!(line(&first.url()).contains("does not answer"), "{said}");
    assert!(line(&second.url()).contains(" answers") && line(&second.url()).contains("/s lately"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_an_image_by_digest_while_the_first_origin_is_gone() {
    let (mut first, second, place) = (Origin::start().await, Origin::start().await, Place::new());
    let image = image::real(&second);
    let hubcap = start(&place, &[&first, &second], &[]);
    first.die().await;
    let to = place.dir.path().join("copied");
    let from = format!("docker://{}/{}@{}", hubcap.http.trim_start_matches("http://"), name(), image.digest);
    let mut skopeo = program("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &from]);
    skopeo.arg(format!("dir:{}", to.display()));
    let copied =
        tokio::task::spawn_blocking(move || skopeo.output()).await.expect("no panic").expect("it starts");
    assert!(copied.status.success(), "{}{}", String::from_utf8_lossy(&copied.stderr), hubcap.log());
    assert_eq!(std::fs::read(to.join("manifest.json")).expect("the manifest"), image.manifest);
}
