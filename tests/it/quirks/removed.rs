//! Images that vanish: Docker Hub answers 401 for a repository that was removed. What is stored of a public one goes on being
//! served where `on-removed = "serve"` says so.

use http::Method;

use crate::support::hubcap::{Hubcap, Place, blob, header, manifest, status};
use crate::support::image::{self, Image};
use crate::support::origin::{Act, Origin, Quirk, quirk};

const NAME: &str = "minio/minio";

/// A daemon that serves the images of a pattern although they are gone, checks tags each time, and has a login perhaps.
fn start(place: &Place, origin: &Origin, pattern: &str, login: Option<&str>) -> Hubcap {
    let file = place.dir.path().join("hubcap.toml");
    let text = format!(
        "tag-ttl = \"0s\"\n\n[[removed]]\npattern = \"{pattern}\"\non-removed = \"serve\"\n\n\
         [upstream.\"docker.io\"]\nurl = \"{}\"\n",
        origin.url()
    );
    std::fs::write(&file, text).expect("written");
    let mut command = place.serve(&origin.url(), &["--config", file.to_str().expect("text")]);
    if let Some(login) = login {
        command.env("HUBCAP_LOGIN", login);
    }
    Hubcap::spawn(command)
}

/// Pulls all of an image, so that it is stored.
async fn pull(hubcap: &Hubcap, image: &Image) {
    assert_eq!(hubcap.get(&manifest(NAME, "latest")).await.status(), 200);
    for digest in &image.blobs {
        hubcap.get(&blob(NAME, digest)).await.bytes().await.expect("a body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_is_served_and_told_where_the_operator_says_so() {
    for gone in [401, 403, 404, 410] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, &format!("{NAME}:latest"), &[b"layer"]);
        let hubcap = start(&place, &origin, "docker.io/minio/*", None);
        pull(&hubcap, &image).await;
        origin.quirk("/v2/minio", quirk::status(gone));
        for method in [Method::HEAD, Method::GET, Method::GET] {
            let answer = hubcap.ask(method, &manifest(NAME, "latest"), &[]).await;
            assert_eq!(answer.status(), 200, "{gone}");
            assert!(status(&answer).ends_with("; detail=removed"), "{}", status(&answer));
            assert_eq!(header(&answer, "docker-content-digest"), image.digest);
        }
        let answer = hubcap.get(&manifest(NAME, &image.digest)).await;
        assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
        assert_eq!(hubcap.get(&blob(NAME, &image.blobs[1])).await.bytes().await.expect("a body"), "layer");
        let tags = hubcap.get(&format!("/v2/{NAME}/tags/list")).await;
        assert!(tags.text().await.expect("a body").contains("\"tags\":[\"latest\"]"));
        // Loudly, and not with every request.
        let log = hubcap.log();
        let told: Vec<_> =
            log.lines().filter(|line| line.contains("minio:latest seems to be removed")).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].contains("WARN") && told[0].contains("the registry last had it on"), "{log}");
        // What is not stored is not there.
        let other = hubcap.get(&manifest(NAME, "other")).await;
        assert!(matches!(other.status().as_u16(), 403 | 404 | 410));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_a_no_for_every_other_image_and_trouble_is_still_trouble() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, &format!("{NAME}:latest"), &[b"layer"]);
    let hubcap = start(&place, &origin, "docker.io/minio/mc", None);
    pull(&hubcap, &image).await;
    origin.quirk("/v2/minio", quirk::status(401));
    assert_eq!(hubcap.get(&manifest(NAME, "latest")).await.status(), 403);
    assert_eq!(hubcap.get(&format!("/v2/{NAME}/tags/list")).await.status(), 403);
    drop(hubcap);
    origin.heal();
    let hubcap = start(&place, &origin, "docker.io/minio/*", None);
    origin.quirk("/v2/minio", quirk::status(500));
    let answer = hubcap.get(&manifest(NAME, "latest")).await;
    assert!(status(&answer).ends_with("; detail=stale-if-error"), "{}", status(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_a_login_is_never_served_after_it_vanished() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, &format!("{NAME}:latest"), &[b"layer"]);
    origin.make_private(NAME, "me:hunter2", "Bearer mine");
    let hubcap = start(&place, &origin, "*", Some("me:hunter2"));
    pull(&hubcap, &image).await;
    origin.quirk("/v2/minio", quirk::status(404));
    for authorization in [None, Some("Bearer mine")] {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = hubcap.ask(Method::GET, &manifest(NAME, "latest"), &headers).await;
        assert_eq!(answer.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_does_not_make_an_image_vanish() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, &format!("{NAME}:latest"), &[b"old"]);
    let hubcap = start(&place, &origin, "docker.io/minio/*", None);
    pull(&hubcap, &image).await;
    let wrong = [("authorization", "Bearer wrong")];
    origin.quirk(
        "/v2/minio",
        Quirk::new(|asked| match &asked.authorization {
            Some(_) => Act::status(401),
            None => None,
        }),
    );
    let answer = hubcap.ask(Method::GET, &manifest(NAME, "latest"), &wrong).await;
    assert_eq!(answer.status(), 403, "it is there for everybody else: {}", status(&answer));
    // Once it is gone for everybody it is gone for this client, too.
    origin.quirk("/v2/minio", quirk::status(401));
    let answer = hubcap.ask(Method::GET, &manifest(NAME, "latest"), &wrong).await;
    assert!(status(&answer).ends_with("; detail=removed"), "{}", status(&answer));
}
