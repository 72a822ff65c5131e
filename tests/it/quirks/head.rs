//! HEAD is a shortcut: registries that refuse it, or that say little or something wrong in its answer.

use http::Method;

use crate::quirks::{REGISTRY, Situation, client};
use crate::support::hubcap::{Hubcap, Place, blob, manifest, status};
use crate::support::image;
use crate::support::origin::{Act, Origin, Quirk, quirk};

/// Nobody's digest.
const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation::pull("gateways before registries", "a HEAD of a manifest is refused with 400", |origin| {
        odd_heads(origin, quirk::no_head(400));
    }),
    Situation::pull(
        "registries behind a login for other methods",
        "a HEAD of a manifest is refused with 401",
        |origin| {
            odd_heads(origin, quirk::no_head(401));
        },
    ),
    Situation::pull("registry.centos.org", "a HEAD of a manifest is refused with 403", |origin| {
        odd_heads(origin, quirk::no_head(403))
    }),
    Situation::pull("Sonatype Nexus", "a HEAD of a manifest is refused with 404", |origin| {
        odd_heads(origin, quirk::no_head(404))
    }),
    Situation::pull(
        "distribution before 2.3, with tokens",
        "a HEAD of a manifest is refused with 405",
        |origin| {
            odd_heads(origin, quirk::no_head(405));
        },
    ),
    Situation::pull(
        "Harbor before a registry that fails",
        "a HEAD of a manifest is refused with 500",
        |origin| {
            odd_heads(origin, quirk::no_head(500));
        },
    ),
    Situation::pull(
        "a directory behind a small web server",
        "a HEAD of a manifest is refused with 501",
        |origin| {
            odd_heads(origin, quirk::no_head(501));
        },
    ),
    Situation::pull("load balancers", "a HEAD is redirected for ever", |origin| {
        odd_heads(origin, quirk::redirect_loop());
    }),
    Situation::pull("single sign-on", "a HEAD is answered with a page to log in at", |origin| {
        odd_heads(origin, quirk::html());
    }),
    Situation::pull("static registries", "no Docker-Content-Digest, for no method", |origin| {
        image::real(origin);
        origin.quirk("manifests", quirk::change(|reply| reply.without("docker-content-digest")));
    }),
    Situation::pull(
        "static registries",
        "a HEAD is answered without Docker-Content-Digest and Content-Length",
        |origin| {
            odd_heads(origin, quirk::change(|reply| reply.without("docker-content-digest").untold()));
        },
    ),
    Situation::pull("Artifactory", "the Docker-Content-Digest of a HEAD is of something else", |origin| {
        odd_heads(origin, quirk::change(|reply| reply.with("docker-content-digest", OTHER)));
    }),
    Situation::pull("home-made registries", "a Docker-Content-Digest that is none", |origin| {
        odd_heads(origin, quirk::change(|reply| reply.with("docker-content-digest", "\"sha256:12\"")));
    }),
    Situation::pull("registries that are filled anew", "a tag whose digest is not found", |origin| {
        image::real(origin);
        origin.quirk("manifests/sha256", quirk::status(404));
    }),
    Situation::pull("Harbor's proxy cache", "a HEAD of a blob is 404 until it was fetched", |origin| {
        image::real(origin);
        origin.quirk("blobs", quirk::no_head(404));
    }),
];

/// An image, the HEADs of whose manifests are answered oddly.
fn odd_heads(origin: &Origin, odd: Quirk) {
    image::real(origin);
    origin.quirk("manifests", quirk::for_heads(odd));
}

/// A hubcap that checks a tag each time.
fn checking(place: &Place, origin: &Origin) -> Hubcap {
    let upstream = format!("{REGISTRY}={}", origin.url());
    place.start("http://127.0.0.1:9", &["--upstream", &upstream, "--tag-ttl", "0s"])
}

fn tag() -> String {
    manifest(&format!("{REGISTRY}/org/app"), "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_checked_and_followed_whatever_becomes_of_a_head() {
    let mut wrong = Vec::new();
    for Situation { quirk, play, .. } in SITUATIONS {
        let (origin, place) = (Origin::start().await, Place::new());
        play(&origin);
        let hubcap = checking(&place, &origin);
        let stayed = client::pull(&hubcap, &origin).await;
        image::real_at(&origin, "org/app:1", 9);
        let moved = client::pull(&hubcap, &origin).await;
        if let Err(why) = stayed.and(moved) {
            wrong.push(format!("{quirk}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_help_are_spared_and_those_that_help_are_not() {
    for (odd, most) in [
        (Some(quirk::no_head(405)), 1),
        (Some(quirk::change(|reply| reply.without("docker-content-digest"))), 1),
        (Some(quirk::change(|reply| reply.with("docker-content-digest", OTHER))), 1),
        (None, 5),
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        image::put(&origin, "org/app:1", &[b"layer"]);
        if let Some(odd) = odd {
            origin.quirk("manifests", quirk::for_heads(odd));
        }
        let hubcap = checking(&place, &origin);
        assert_eq!(hubcap.get(&tag()).await.status(), 200);
        for _ in 0..5 {
            assert!(status(&hubcap.get(&tag()).await).ends_with("detail=revalidated"));
        }
        let (heads, gets) =
            (origin.count(&Method::HEAD, "manifests"), origin.count(&Method::GET, "manifests"));
        // Docker Hub counts GETs: where a HEAD helps there is the first one only.
        assert_eq!((heads, gets), (most, if most == 1 { 6 } else { 1 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_help_in_one_repository_are_not_spared_in_others() {
    for odd in [quirk::no_head(405), quirk::change(|reply| reply.with("docker-content-digest", OTHER))] {
        let (origin, place) = (Origin::start().await, Place::new());
        image::put(&origin, "org/app:1", &[b"layer"]);
        image::put(&origin, "org/odd:1", &[b"layer"]);
        origin.quirk("org/odd/manifests", quirk::for_heads(odd));
        let hubcap = checking(&place, &origin);
        for path in [tag(), manifest(&format!("{REGISTRY}/org/odd"), "1")] {
            for _ in 0..2 {
                assert_eq!(hubcap.get(&path).await.status(), 200);
            }
        }
        origin.forget();
        assert!(status(&hubcap.get(&tag()).await).ends_with("detail=revalidated"));
        // Docker Hub counts GETs.
        assert_eq!((origin.count(&Method::HEAD, ""), origin.count(&Method::GET, "")), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_says_that_the_tag_has_moved_has_helped() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "org/app:1", &[b"old"]);
    let hubcap = checking(&place, &origin);
    hubcap.get(&tag()).await;
    let new = image::put(&origin, "org/app:1", &[b"new"]);
    let answer = hubcap.get(&tag()).await;
    assert_eq!(answer.bytes().await.expect("a body"), new.manifest);
    origin.forget();
    hubcap.get(&tag()).await;
    assert_eq!((origin.count(&Method::HEAD, ""), origin.count(&Method::GET, "")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_fails_denies_nothing_that_a_get_gives() {
    let no_ranges = || Quirk::new(|asked| if asked.range.is_some() { Act::status(416) } else { None });
    for odd in [
        vec![quirk::no_head(405)],
        vec![quirk::no_head(403), no_ranges()],
        vec![quirk::no_head(404), quirk::no_ranges()],
        vec![quirk::for_heads(quirk::html())],
        vec![quirk::for_heads(quirk::change(|reply| reply.untold()))],
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        let ours = image::put(&origin, "org/app:1", &[b"layer"]);
        image::put(&origin, "org/other:1", &[b"layer"]);
        let hubcap = checking(&place, &origin);
        for digest in &ours.blobs {
            hubcap.get(&blob(&format!("{REGISTRY}/org/app"), digest)).await.bytes().await.expect("a body");
        }
        for odd in odd {
            origin.quirk("/blobs/", odd);
        }
        // What another repository brought needs the registry's word.
        let answer = hubcap.get(&blob(&format!("{REGISTRY}/org/other"), &ours.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; fwd-status=200; detail=granted");
        let new = origin.put_blob(b"another");
        let answer = hubcap.head(&blob(&format!("{REGISTRY}/org/app"), &new)).await;
        assert_eq!(answer.status(), 200, "{}", status(&answer));
        assert_eq!(answer.headers()["content-length"], "7");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_length_nobody_tells_is_there_all_the_same() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/app:1", &[b"layer"]);
    origin.quirk("/blobs/", quirk::no_ranges());
    origin.quirk("/blobs/", quirk::no_length());
    let hubcap = checking(&place, &origin);
    let answer = hubcap.head(&blob(&format!("{REGISTRY}/org/app"), &image.blobs[1])).await;
    // No length is told; 0 would be a wrong one.
    assert_eq!((answer.status().as_u16(), answer.headers().get("content-length")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_200_is_no_permission() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "org/app:1", &[b"layer"]);
    let hubcap = checking(&place, &origin);
    hubcap.get(&tag()).await;
    hubcap.get(&blob(&format!("{REGISTRY}/org/app"), &image.blobs[1])).await.bytes().await.expect("a body");
    origin.quirk("/v2/org/none", quirk::html());
    let none = format!("{REGISTRY}/org/none");
    for path in [manifest(&none, &image.digest), blob(&none, &image.blobs[1])] {
        let answer = hubcap.get(&path).await;
        assert_eq!(answer.status(), 404, "{path}: {}", status(&answer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_content_is_not_private_because_a_head_was_refused() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    image::put(&origin, "org/app:1", &[b"layer"]);
    origin.quirk("manifests", quirk::no_head(403));
    let upstream = format!("{REGISTRY}={}", origin.url());
    let mut command = place.serve("http://127.0.0.1:9", &["--upstream", &upstream]);
    command.env("HUBCAP_LOGIN", format!("{REGISTRY}=me:hunter2"));
    let hubcap = Hubcap::spawn(command);
    assert_eq!(hubcap.get(&tag()).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    origin.die().await;
    let hubcap = place.start("http://127.0.0.1:9", &["--upstream", &upstream]);
    let answer = hubcap.get(&tag()).await;
    assert!(status(&answer).starts_with("hubcap; hit"), "{}", status(&answer));
}
