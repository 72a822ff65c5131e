//! What is private, and logins: each origin has its own.

use reqwest::Method;

use super::{NOBODY, get, name, start, two};
use crate::quirks::{REGISTRY, REPOSITORY, TAG};
use crate::support::hubcap::{Hubcap, Place, blob, manifest};
use crate::support::image::{self, Image};
use crate::support::origin::{Origin, quirk};
use crate::support::programs::program;

/// A first origin whose repository is private, and another one that has the same for everybody.
async fn private() -> (Origin, Origin, Image, Vec<u8>) {
    let (first, second, image, layer) = two().await;
    first.make_private(REPOSITORY, "me:hunter2", "Bearer client-s3cret");
    (first, second, image, layer)
}

#[tokio::test(flavor = "multi_thread")]
async fn private_content_is_never_asked_of_an_origin_without_a_login() {
    let ((mut first, second, image, _), place) = (private().await, Place::new());
    let urls = format!("{REGISTRY}={},{}", first.url(), second.url());
    let mut command =
        place.serve(NOBODY, &["--upstream", &urls, "--tag-ttl", "1h", "--upstream-timeout", "2s"]);
    command.env("HUBCAP_LOGIN", format!("{REGISTRY}=me:hunter2"));
    let hubcap = Hubcap::spawn(command);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    first.quirk(&image.blobs[1], quirk::cut_at(100_000));
    let (_, got) = get(&hubcap, &blob(&name(), &image.blobs[1])).await;
    assert!(got.is_empty(), "cut");
    first.die().await;
    assert_eq!(get(&hubcap, &blob(&name(), &image.blobs[0])).await.0, 404);
    // Nor what may be private.
    assert_eq!(get(&hubcap, &manifest(&format!("{REGISTRY}/org/other"), &image.digest)).await.0, 404);
    assert_eq!(second.log().len(), 0, "{:?}", second.log());
    assert!(!hubcap.log().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_content_comes_from_an_origin_with_a_login_for_who_has_a_grant() {
    let ((mut first, second, image, layer), place) = (private().await, Place::new());
    second.make_private(REPOSITORY, "us:swordfish", "Bearer nobody");
    let file = place.dir.path().join("hubcap.toml");
    let text = format!(
        "[upstream.\"{REGISTRY}\"]\nurl = [\"{}\", {{ url = \"{}\", username = \"us\", password = \"swordfish\" }}]\n",
        first.url(),
        second.url()
    );
    std::fs::write(&file, text).expect("written");
    let more = ["--config", file.to_str().expect("text"), "--tag-ttl", "1h", "--upstream-timeout", "2s"];
    let hubcap = place.start(NOBODY, &more);
    let own = [("authorization", "Bearer client-s3cret")];
    assert_eq!(hubcap.ask(Method::GET, &manifest(&name(), TAG), &own).await.status(), 200);
    first.die().await;
    let path = blob(&name(), &image.blobs[1]);
    assert_eq!(get(&hubcap, &path).await.0, 404, "who has no grant");
    assert_eq!(second.log().len(), 0);
    let answer = hubcap.ask(Method::GET, &path, &own).await;
    assert!(answer.bytes().await.expect("a body") == layer, "{}", hubcap.log());
    assert_eq!(get(&hubcap, &path).await.0, 404, "who has no grant");
    let told = second.log().into_iter().filter_map(|asked| asked.authorization).collect::<Vec<_>>();
    assert!(!told.is_empty() && !told.iter().any(|text| text.contains("client-s3cret")), "{told:?}");
    assert!(!hubcap.log().contains("swordfish"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repository_has_got_since_it_was_public_does_not_come_by_another_origins_login() {
    let ((first, second, ..), place) = (two().await, Place::new());
    let urls = format!("{REGISTRY}={},{}", first.url(), second.url());
    let host = second.url().replace("http://", "");
    let mut command = place.serve(NOBODY, &["--upstream", &urls, "--upstream-timeout", "2s"]);
    command.env("HUBCAP_LOGIN", format!("{host}=us:swordfish"));
    let hubcap = Hubcap::spawn(command);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    let mut secret = None;
    for (origin, login) in [(&first, "me:hunter2"), (&second, "us:swordfish")] {
        secret = Some(image::put(origin, &format!("{REPOSITORY}:2"), &[b"secret"]));
        origin.make_private(REPOSITORY, login, "Bearer nobody");
    }
    let secret = secret.expect("two origins");
    first.quirk("/v2/", quirk::status(503));
    for path in [manifest(&name(), &secret.digest), blob(&name(), &secret.blobs[1])] {
        assert_eq!(get(&hubcap, &path).await.0, 404, "{path}");
    }
    assert!(!place.blobs().contains(&secret.digest) && !place.blobs().contains(&secret.blobs[1]));
    assert!(second.log().iter().all(|asked| asked.authorization.is_none()), "{:?}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_store_of_others_names_does_not_come_by_another_origins_login() {
    let ((first, second, image, layer), place, other) = (two().await, Place::new(), Place::new());
    second.make_private(REPOSITORY, "us:swordfish", "Bearer nobody");
    let urls = format!("{REGISTRY}={},{}", first.url(), second.url());
    let host = second.url().replace("http://", "");
    let start = |place: &Place| {
        let mut command = place.serve(NOBODY, &["--upstream", &urls, "--upstream-timeout", "2s"]);
        command.env("HUBCAP_LOGIN", format!("{host}=us:swordfish"));
        Hubcap::spawn(command)
    };
    let hubcap = start(&place);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    assert_eq!(hubcap.stop(), Some(0));
    let [_, named] = image.blobs.as_slice() else { panic!("a configuration and a layer") };
    // As in a cache that others may write to.
    let [from, to] = [&place, &other].map(Place::store);
    let copied = program("cp").arg("-a").args([&from, &to]).status().expect("cp starts");
    assert!(copied.success());
    for trouble in [503, 404] {
        first.heal();
        first.quirk("/v2/", quirk::status(trouble));
        let hubcap = start(&other);
        assert_eq!(get(&hubcap, &blob(&name(), named)).await.0, 404);
        assert!(second.log().iter().all(|asked| asked.authorization.is_none()), "{:?}", second.log());
        assert_eq!(hubcap.stop(), Some(0));
    }
    // This one has heard the first origin itself.
    let hubcap = start(&place);
    assert!(get(&hubcap, &blob(&name(), named)).await == (200, layer), "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_makes_nothing_the_repositorys_that_only_another_origin_has_given() {
    let ((mut first, second, image, _), place) = (two().await, Place::new());
    let lock = place.dir.path().join("hubcap.lock");
    let text = format!("version = 1\n\n[images.\"{}:{TAG}\"]\ndigest = \"{}\"\n", name(), image.digest);
    std::fs::write(&lock, text).expect("written");
    first.die().await;
    let frozen = format!("--frozen={}", lock.display());
    let hubcap = start(&place, &[&first, &second], &[&frozen]);
    assert_eq!(
        get(&hubcap, &manifest(&name(), TAG)).await,
        (200, image.manifest.clone()),
        "{}",
        hubcap.log()
    );
    assert!(place.blobs().is_empty(), "{:?}", place.blobs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_authorization_goes_to_the_first_origin_alone() {
    let ((mut first, second, image, layer), place) = (two().await, Place::new());
    let hubcap = start(&place, &[&first, &second], &["--tag-ttl", "1h"]);
    let own = [("authorization", "Bearer client-s3cret")];
    assert_eq!(hubcap.ask(Method::GET, &manifest(&name(), TAG), &own).await.status(), 200);
    first.die().await;
    let answer = hubcap.ask(Method::GET, &blob(&name(), &image.blobs[1]), &own).await;
    assert!(answer.bytes().await.expect("a body") == layer, "it is public: {}", hubcap.log());
    // What may be private is not even named.
    let other = format!("{REGISTRY}/org/other");
    assert_eq!(hubcap.ask(Method::GET, &manifest(&other, &image.digest), &own).await.status(), 404);
    let log = second.log();
    assert!(log.iter().all(|asked| asked.authorization.is_none()), "{log:?}");
    assert!(log.iter().all(|asked| !asked.target.contains("org/other")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_origin_gets_its_own_login() {
    let ((mut first, second, image, layer), place) = (two().await, Place::new());
    first.like_docker_hub(Some("me:hunter2"));
    second.like_docker_hub(Some("us:swordfish"));
    let urls = format!("{REGISTRY}={},{}", first.url(), second.url());
    let host = second.url().replace("http://", "");
    let mut command = place.serve(NOBODY, &["--upstream", &urls, "--tag-ttl", "1h"]);
    command.env("HUBCAP_LOGIN", format!("{REGISTRY}=me:hunter2,{host}=us:swordfish"));
    let hubcap = Hubcap::spawn(command);
    assert_eq!(get(&hubcap, &manifest(&name(), TAG)).await.0, 200);
    first.die().await;
    assert!(get(&hubcap, &blob(&name(), &image.blobs[1])).await == (200, layer), "{}", hubcap.log());
    for secret in ["hunter2", "swordfish", "X-Amz"] {
        assert!(!hubcap.log().contains(secret), "{}", hubcap.log());
    }
}
