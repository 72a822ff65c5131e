//! Whether anybody may have a repository is found out again and again, and only from answers.

use std::time::Instant;

use crate::support::hubcap::{Hubcap, Place, blob, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::origin::{Origin, Quirk, Reply, quirk};
use crate::support::{PATIENCE, noise};

const SECRET: &str = "Bearer client-s3cret";
const OTHER: &str = "Bearer another";

/// A public image, of which a client with a login pulls everything while its registry answers nobody else but so.
async fn pulled_in_doubt(trouble: Quirk, hubcap: &Hubcap, origin: &Origin) -> Image {
    let image = image::put(origin, "org/app:1", &[&noise(200_000, 1)]);
    origin.quirk("/v2/org/app/", quirk::without_login(trouble));
    for path in [manifest("org/app", "1"), blob("org/app", &image.blobs[1])] {
        assert_eq!(hubcap.get_as(&path, Some(SECRET)).await.status(), 200, "{path}");
    }
    image
}

fn is_marked(place: &Place) -> bool {
    std::fs::read_to_string(place.store().join("index.json"))
        .expect("index.json")
        .contains("io.hubcap.private")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_trouble_makes_its_public_repositories_private_for_a_while_only() {
    for trouble in [quirk::status(429), quirk::status(500)] {
        let (origin, place) = (Origin::start().await, Place::new());
        let hubcap = place.start(&origin.url(), &[]);
        let image = pulled_in_doubt(trouble, &hubcap, &origin).await;
        let path = blob("org/app", &image.blobs[1]);
        assert!(is_marked(&place), "nobody knows yet whether it is private");
        assert_ne!(hubcap.get_as(&path, None).await.status(), 200);
        origin.heal();
        // Whoever gets it without a login shows that anybody may have it.
        let end = Instant::now() + PATIENCE;
        while hubcap.get_as(&path, None).await.status() != 200 {
            assert!(Instant::now() < end, "it is not given: {}", hubcap.log());
        }
        let answer = hubcap.get_as(&path, Some(OTHER)).await;
        assert_eq!(status(&answer), "hubcap; hit", "{}", hubcap.log());
        assert!(!is_marked(&place));
        assert_eq!(hubcap.stop(), Some(0));
        let store = place.store();
        let gc = run(place.dir.path(), &["gc", "--private", "--store", store.to_str().expect("text")]);
        assert!(gc.status.success());
        for kept in [&image.digest, &image.blobs[1]] {
            assert!(place.blobs().contains(kept), "what is public may be carried");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_page_is_no_yes_whatever_its_status_is() {
    let json = quirk::answer(|_| {
        Some(Reply::new(r#"{"login":"https://sso.example"}"#).with("content-type", "application/json"))
    });
    let untold = quirk::answer(|_| Some(Reply::new("please log in").without("content-type").untold()));
    for page in [quirk::html(), json, untold] {
        let (origin, place) = (Origin::start().await, Place::new());
        let hubcap = place.start(&origin.url(), &[]);
        let image = pulled_in_doubt(page, &hubcap, &origin).await;
        let wanted =
            [manifest("org/app", "1"), manifest("org/app", &image.digest), blob("org/app", &image.blobs[1])];
        for path in wanted.iter().chain(&wanted) {
            let answer = hubcap.get_as(path, None).await;
            let told = status(&answer);
            let right = answer.status() == 200
                && answer.bytes().await.is_ok_and(|body| {
                    let given = image::sha256(&body);
                    given == image.digest || given == image.blobs[1]
                });
            assert!(!right, "a stranger gets {path}: {told}");
        }
        assert!(is_marked(&place), "{}", hubcap.log());
        // Who has the login still gets it.
        for path in &wanted {
            assert_eq!(hubcap.get_as(path, Some(SECRET)).await.status(), 200, "{path}");
        }
    }
}
