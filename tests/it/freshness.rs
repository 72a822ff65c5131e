//! Tags within and past their time, and an upstream that cannot be asked.

use std::time::{Duration, Instant};

use hubcap_oci::media_type;
use reqwest::Method;

use crate::support::hubcap::{Place, blob, manifest, status};
use crate::support::image;
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_within_its_ttl_is_served_without_asking() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(status(&hubcap.head(&manifest("library/x", "1")).await), "hubcap; fwd=miss; stored");
    origin.forget();
    // As dockerd names it, and as people do.
    for name in ["library/x", "x"] {
        let answer = hubcap.get(&manifest(name, "1")).await;
        assert!(status(&answer).starts_with("hubcap; hit; ttl="), "{}", status(&answer));
        assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
    }
    assert_eq!(status(&hubcap.get(&manifest("x", &image.digest)).await), "hubcap; hit");
    assert_eq!(origin.log().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validation_counts_for_the_state_directory_that_noted_it_and_for_no_other() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let served = async || {
        let hubcap = place.start(&origin.url(), &[]);
        let told = status(&hubcap.get(&manifest("x", "1")).await);
        hubcap.stop();
        told
    };
    assert_eq!(served().await, "hubcap; fwd=miss; stored");
    let told = served().await;
    assert!(told.starts_with("hubcap; hit; ttl="), "{told}");
    // As in another container of the same machine.
    std::fs::rename(place.state(), place.dir.path().join("another")).expect("moved");
    assert_eq!(served().await, "hubcap; fwd=stale; fwd-status=200; detail=revalidated");
    let told = served().await;
    assert!(told.starts_with("hubcap; hit; ttl="), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_asked_for_earlier_and_comes_later_moves_no_tag_back() {
    const SLOW: &str = "Bearer slow";
    let (origin, place) = (Origin::start().await, Place::new());
    let old = image::put(&origin, "library/x:1", &[b"old"]);
    let hubcap = place.start(&origin.url(), &[]);
    // Its repository is known to be public, whoever asks.
    assert_eq!(hubcap.get_as(&manifest("x", &old.digest), Some("Bearer another")).await.status(), 200);
    let (open, gate) = tokio::sync::watch::channel(false);
    origin.quirk("/manifests/1", quirk::with_login(SLOW, quirk::gate(10, gate)));
    origin.forget();
    let path = manifest("x", "1");
    let slow = async {
        let answer = hubcap.get_as(&path, Some(SLOW)).await;
        assert_eq!(answer.bytes().await.expect("a body"), old.manifest);
    };
    let meanwhile = async {
        eventually("it is asked for", || origin.count(&Method::GET, "/manifests/1") == 1).await;
        let new = image::put(&origin, "library/x:1", &[b"new"]);
        assert_eq!(hubcap.get(&path).await.bytes().await.expect("a body"), new.manifest);
        open.send(true).expect("somebody waits");
        new
    };
    let ((), new) = tokio::join!(slow, meanwhile);
    let answer = hubcap.get(&path).await;
    assert!(status(&answer).starts_with("hubcap; hit; ttl="), "{}", status(&answer));
    assert_eq!(answer.bytes().await.expect("a body"), new.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_answer_that_takes_long_to_be_stored_moves_no_tag_back() {
    const SLOW: &str = "Bearer slow";
    let (origin, place) = (Origin::start().await, Place::new());
    // As long as a manifest may be, so that it takes long.
    let padding = "x".repeat(15 << 20);
    let old = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{padding}"}}}}"#);
    let digest = origin.put_manifest("library/x:1", media_type::OCI_INDEX, old.as_bytes());
    let other = image::put(&origin, "library/x:2", &[b"other"]);
    let hubcap = place.start(&origin.url(), &[]);
    // Its repository is known to be public, whoever asks.
    assert_eq!(hubcap.get_as(&manifest("x", &other.digest), Some("Bearer another")).await.status(), 200);
    let (open_old, old_gate) = tokio::sync::watch::channel(false);
    let (open_new, new_gate) = tokio::sync::watch::channel(false);
    origin.quirk("/manifests/1", quirk::with_login(SLOW, quirk::gate(10, old_gate)));
    origin.quirk("/manifests/1", quirk::without_login(quirk::gate(10, new_gate)));
    origin.forget();
    let path = manifest("x", "1");
    let asked = |times| origin.count(&Method::GET, "/manifests/1") == times;
    let older = async {
        let answer = hubcap.get_as(&path, Some(SLOW)).await;
        assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), digest);
    };
    let newer = async {
        eventually("the first asks", || asked(1)).await;
        let new = image::put(&origin, "library/x:1", &[b"new"]);
        let answer = hubcap.get(&path).await;
        assert_eq!(answer.bytes().await.expect("a body"), new.manifest);
        new
    };
    let gates = async {
        eventually("the second asks", || asked(2)).await;
        open_old.send(true).expect("somebody waits");
        let ingest = place.store().join("ingest");
        let is_written = || std::fs::read_dir(&ingest).is_ok_and(|mut files| files.next().is_some());
        eventually("the older one is written", is_written).await;
        open_new.send(true).expect("somebody waits");
    };
    let ((), new, ()) = tokio::join!(older, newer, gates);
    let answer = hubcap.get(&path).await;
    assert!(status(&answer).starts_with("hubcap; hit; ttl="), "{}", status(&answer));
    assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), new.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_answer_counts_that_says_what_the_tag_meant_before_or_that_it_is_gone() {
    const LOGINS: [&str; 2] = ["Bearer first", "Bearer second"];
    for is_gone in [false, true] {
        let (origin, place) = (Origin::start().await, Place::new());
        let old = image::put(&origin, "library/x:1", &[b"old"]);
        let other = image::put(&origin, "library/x:2", &[b"other"]);
        let path = manifest("x", "1");
        let hubcap = place.start(&origin.url(), &[]);
        assert_eq!(hubcap.get(&path).await.status(), 200);
        assert_eq!(hubcap.stop(), Some(0));
        // So that the tag has expired.
        std::fs::rename(place.state(), place.dir.path().join("another")).expect("moved");
        let hubcap = place.start(&origin.url(), &[]);
        // Its repository is known to be public, whoever asks.
        let known = hubcap.get_as(&manifest("x", &other.digest), Some("Bearer another")).await;
        assert_eq!(known.status(), 200);
        let gates = LOGINS.map(|login| {
            let (open, gate) = tokio::sync::watch::channel(false);
            origin.quirk("/manifests/1", quirk::with_login(login, quirk::held(gate)));
            open
        });
        let open = |number: usize| gates[number].send(true).expect("it is held");
        let is_asked = |times| origin.count(&Method::HEAD, "/manifests/1") == times;
        origin.forget();
        let first = async {
            let answer = hubcap.get_as(&path, Some(LOGINS[0])).await;
            let new = image::put(&origin, "library/x:1", &[b"new"]);
            assert_eq!(answer.bytes().await.expect("a body"), new.manifest);
            // Now it means again what it did, or nothing.
            if is_gone {
                origin.remove_tag("library/x:1");
            } else {
                image::put(&origin, "library/x:1", &[b"old"]);
            }
            open(1);
        };
        let second = async {
            eventually("the first asks", || is_asked(1)).await;
            hubcap.get_as(&path, Some(LOGINS[1])).await
        };
        let moves = async {
            eventually("the second asks", || is_asked(2)).await;
            image::put(&origin, "library/x:1", &[b"new"]);
            open(0);
        };
        let ((), answer, ()) = tokio::join!(first, second, moves);
        let after = hubcap.get(&path).await;
        if is_gone {
            assert_eq!((answer.status().as_u16(), after.status().as_u16()), (404, 404), "{}", status(&after));
        } else {
            assert!(status(&after).starts_with("hubcap; hit; ttl="), "{}", status(&after));
            assert_eq!(after.bytes().await.expect("a body"), old.manifest);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_past_its_ttl_is_checked_with_a_head_and_fetched_only_when_it_moved() {
    let (origin, place) = (Origin::start().await, Place::new());
    let old = image::put(&origin, "library/x:1", &[b"old"]);
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    hubcap.get(&manifest("x", "1")).await;
    origin.forget();
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(status(&answer), "hubcap; fwd=stale; fwd-status=200; detail=revalidated");
    assert_eq!(answer.bytes().await.expect("a body"), old.manifest);
    assert_eq!((origin.count(&Method::HEAD, ""), origin.count(&Method::GET, "")), (1, 0));
    let new = image::put(&origin, "library/x:1", &[b"new"]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(status(&answer), "hubcap; fwd=stale; fwd-status=200; stored");
    assert_eq!(answer.bytes().await.expect("a body"), new.manifest);
    assert_eq!(origin.count(&Method::GET, ""), 1);
    // The old one is still there for who has its digest.
    assert_eq!(status(&hubcap.get(&manifest("x", &old.digest)).await), "hubcap; hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_is_better_than_trouble_but_not_than_a_no() {
    for (fault, stale) in [
        (quirk::status(500), true),
        (quirk::status(503), true),
        (quirk::retry_after(429, 60), true),
        (quirk::hang(), true),
        (quirk::status(404), false),
        (quirk::status(403), false),
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "library/x:1", &[b"layer"]);
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s", "--upstream-timeout", "300ms"]);
        hubcap.get(&manifest("x", "1")).await;
        origin.quirk("manifests", fault.clone());
        let answer = hubcap.get(&manifest("x", "1")).await;
        if stale {
            let told = status(&answer);
            assert!(
                told.starts_with("hubcap; hit; ttl=-") && told.ends_with("; detail=stale-if-error"),
                "{told}"
            );
            assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
            eventually("a warning", || hubcap.log().contains("past its TTL")).await;
        } else {
            assert!(matches!(answer.status().as_u16(), 403 | 404));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_is_told_once_a_minute_however_many_ask_for_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    hubcap.get(&manifest("x", "1")).await;
    origin.quirk("manifests", quirk::status(500));
    for _ in 0..100 {
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    }
    eventually("a warning", || hubcap.log().contains("past its TTL")).await;
    assert_eq!(hubcap.log().matches("past its TTL").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_hangs_costs_all_who_wait_for_it_one_timeout_together() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    origin.token_life(1);
    let names: Vec<String> = (0..24).map(|n| format!("library/x{n}")).collect();
    for name in &names {
        image::put(&origin, &format!("{name}:1"), &[b"layer"]);
    }
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s", "--upstream-timeout", "3s"]);
    for name in &names {
        assert_eq!(hubcap.get(&manifest(name, "1")).await.status(), 200);
    }
    // Half of its life a token is used: each repository needs a new one.
    tokio::time::sleep(Duration::from_millis(600)).await;
    origin.quirk("/token", quirk::hang());
    origin.forget();
    let began = Instant::now();
    let asking = names.iter().map(async |name| status(&hubcap.get(&manifest(name, "1")).await));
    for told in futures_util::future::join_all(asking).await {
        assert!(told.ends_with("; detail=stale-if-error"), "{told}");
    }
    // One after the other would take 72 s.
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "each waited for the others' timeouts: {:?}",
        began.elapsed()
    );
    // For each, once over the connection of before, and once over a fresh one beside it.
    let asked = origin.count(&Method::GET, "/token");
    assert!(asked <= 2 * names.len(), "asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_left_alone_after_a_few_failures() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    hubcap.get(&manifest("x", "1")).await;
    origin.quirk("manifests", quirk::status(503));
    origin.forget();
    for _ in 0..20 {
        assert_eq!(hubcap.get(&manifest("x", "1")).await.status(), 200);
    }
    let asked = origin.log().len();
    assert!((1..=6).contains(&asked), "asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_opens_no_connection_and_serves_what_is_there() {
    let (origin, place) = (Origin::start().await, Place::new());
    let layer = noise(100_000, 1);
    let image = image::put(&origin, "library/x:1", &[&layer]);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&manifest("x", "1")).await;
    for digest in &image.blobs {
        hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    origin.forget();
    let hubcap = place.start(&origin.url(), &["--offline", "--tag-ttl", "0s"]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert!(status(&answer).ends_with("; detail=offline"), "{}", status(&answer));
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
    assert!(hubcap.get(&blob("x", &image.blobs[1])).await.bytes().await.expect("a body") == layer);
    let missing = hubcap.get(&manifest("x", "2")).await;
    assert_eq!((missing.status().as_u16(), status(&missing).as_str()), (404, "hubcap; detail=offline"));
    assert_eq!(
        hubcap.get("/v2/library/x/tags/list").await.text().await.expect("a body"),
        r#"{"name":"library/x","tags":["1"]}"#
    );
    assert_eq!(origin.log().len(), 0);
    drop(hubcap);
    // Not even one without a request.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let hubcap = place.start(&url, &["--offline", "--tag-ttl", "0s", "--read-ahead"]);
    for path in
        [manifest("x", "1"), manifest("x", "2"), blob("x", &image.blobs[1]), blob("y", &image.blobs[1])]
    {
        hubcap.get(&path).await.bytes().await.expect("a body");
    }
    assert_eq!(listener.accept().expect_err("nobody").kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_a_pattern_calls_immutable_is_asked_once_and_an_upstream_has_its_own_ttl() {
    let (origin, place) = (Origin::start().await, Place::new());
    for name in ["library/x:v1", "library/x:latest", "org/y:latest"] {
        image::put(&origin, name, &[b"layer"]);
    }
    let file = place.dir.path().join("hubcap.toml");
    let text = format!(
        "tag-ttl = \"1h\"\n[[tags]]\npattern = \"docker.io/library/*:v*\"\nttl = \"immutable\"\n\
         [[tags]]\npattern = \"docker.io/org/*\"\nttl = \"1h\"\n\
         [upstream.\"docker.io\"]\nurl = \"{}\"\ntag-ttl = \"0s\"\n",
        origin.url()
    );
    std::fs::write(&file, text).expect("a file");
    let hubcap = place.start(&origin.url(), &["--config", file.to_str().expect("text")]);
    let ask = async |name: &str, tag: &str| status(&hubcap.get(&manifest(name, tag)).await);
    for (name, tag) in [("library/x", "v1"), ("library/x", "latest"), ("org/y", "latest")] {
        assert_eq!(ask(name, tag).await, "hubcap; fwd=miss; stored");
    }
    assert_eq!(ask("library/x", "v1").await, "hubcap; hit");
    assert_eq!(ask("library/x", "latest").await, "hubcap; fwd=stale; fwd-status=200; detail=revalidated");
    assert!(ask("org/y", "latest").await.starts_with("hubcap; hit; ttl="));
    // Not even after the index was lost, and with it the time of the last question.
    assert_eq!(hubcap.stop(), Some(0));
    std::fs::remove_dir_all(place.store().join("index-sled034-v2")).expect("removed");
    let hubcap = place.start(&origin.url(), &["--config", file.to_str().expect("text")]);
    assert_eq!(status(&hubcap.get(&manifest("library/x", "v1")).await), "hubcap; hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_passed_on_and_remembered_briefly() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
    hubcap.get(&manifest("x", "1")).await;
    let none = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (fault, code) in [(quirk::status(404), 404), (quirk::status(403), 403)] {
        let other = if code == 404 { "x" } else { "library/y" };
        origin.quirk("/v2/", fault);
        for path in [manifest(other, "2"), manifest(other, none), blob(other, none)] {
            origin.forget();
            assert_eq!(hubcap.get(&path).await.status(), code, "{path}");
            let asked = origin.log().len();
            for _ in 0..5 {
                let again = hubcap.get(&path).await;
                assert_eq!(
                    (again.status().as_u16(), status(&again).as_str()),
                    (code, "hubcap; hit; detail=refused")
                );
            }
            assert_eq!(origin.log().len(), asked, "{path} was asked again");
        }
        origin.heal();
    }
    // Others are not touched by it.
    assert_eq!(hubcap.get(&manifest("x", &image.digest)).await.status(), 200);
}
