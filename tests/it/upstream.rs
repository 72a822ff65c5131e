//! A registry that behaves as Docker Hub does, and one that misbehaves.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::hubcap::{Hubcap, Place, blob, command, manifest, status};
use crate::support::image;
use crate::support::noise;
use crate::support::origin::{Origin, Role, quirk};
use crate::support::programs::install_script;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_from_another_host_and_never_goes_to_the_blobs_host() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    let layer = noise(200_000, 1);
    let image = image::put(&origin, "library/x:1", &[&layer]);
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("x", "1")).await.bytes().await.expect("a body"), image.manifest);
    assert!(hubcap.get(&blob("x", &image.blobs[1])).await.bytes().await.expect("a body") == layer);
    hubcap.get(&blob("x", &image.blobs[0])).await.bytes().await.expect("a body");
    let log = origin.log();
    let tokens: Vec<_> = log.iter().filter(|asked| asked.host == Role::Token).collect();
    assert_eq!(tokens.len(), 1, "one token for all of a repository");
    assert!(
        tokens[0].target.contains("service=origin")
            && tokens[0].target.contains("repository%3Alibrary%2Fx%3Apull")
    );
    let cdn: Vec<_> = log.iter().filter(|asked| asked.host == Role::Cdn).collect();
    assert_eq!(cdn.len(), 2);
    assert!(cdn.iter().all(|asked| asked.authorization.is_none()));
    for secret in ["token-1", "s3cret-signature"] {
        assert!(!hubcap.log().contains(secret), "{}", hubcap.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_run_out_is_fetched_again() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    origin.token_life(1);
    for tag in ["1", "2"] {
        image::put(&origin, &format!("library/x:{tag}"), &[tag.as_bytes()]);
    }
    let hubcap = place.start(&origin.url(), &[]);
    for tag in ["1", "2"] {
        assert_eq!(hubcap.get(&manifest("x", tag)).await.status(), 200);
        // Half of its life it is used.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let tokens = origin.log().iter().filter(|asked| asked.host == Role::Token).count();
    assert!(tokens >= 2, "{tokens}");
}

/// A daemon with further variables.
fn start_with(place: &Place, origin: &Origin, variables: &[(&str, &str)], more: &[&str]) -> Hubcap {
    let mut command = command(place.dir.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.arg("--store").arg(place.store()).arg("--state").arg(place.state()).args(more);
    if !more.contains(&"--config") {
        command.args(["--upstream", &format!("docker.io={}", origin.url())]);
    }
    for (name, value) in variables {
        command.env(name, value);
    }
    Hubcap::spawn(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_come_from_variables_the_file_dockers_file_and_its_helpers() {
    let origin = Origin::start().await;
    origin.like_docker_hub(Some("me:hunter2"));
    image::put(&origin, "library/x:1", &[b"layer"]);
    let path = manifest("x", "1");
    let host = origin.url().replace("http://", "");
    let check = async |hubcap: Hubcap, place: &Place| {
        let answer = hubcap.get(&path).await;
        assert_eq!(answer.status(), 200);
        assert!(!hubcap.log().contains("hunter2"));
        assert_eq!(hubcap.stop(), Some(0));
        let found = std::process::Command::new("grep")
            .args(["-r", "hunter2"])
            .arg(place.store())
            .output()
            .expect("grep");
        assert_eq!(found.status.code(), Some(1), "a secret in the store");
    };

    let place = Place::new();
    let anonymous = start_with(&place, &origin, &[], &[]);
    assert_eq!(anonymous.get(&path).await.status(), 403);
    drop(anonymous);

    let variables = [("HUBCAP_LOGIN", "me:hunter2")];
    check(start_with(&place, &origin, &variables, &[]), &place).await;

    let place = Place::new();
    let file = place.dir.path().join("hubcap.toml");
    let text = format!(
        "[upstream.\"docker.io\"]\nurl = \"{}\"\nusername = \"me\"\npassword = \"hunter2\"\n",
        origin.url()
    );
    std::fs::write(&file, text).expect("a file");
    check(start_with(&place, &origin, &[], &["--config", file.to_str().expect("text")]), &place).await;

    let place = Place::new();
    let docker = place.dir.path().join(".docker");
    std::fs::create_dir(&docker).expect("a directory");
    // echo -n me:hunter2 | base64
    std::fs::write(
        docker.join("config.json"),
        format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#),
    )
    .expect("a file");
    check(start_with(&place, &origin, &[], &[]), &place).await;

    let place = Place::new();
    let bin = place.dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let helper = bin.join("docker-credential-test");
    install_script(
        &helper,
        "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"hunter2\"}'\n",
    );
    let elsewhere = place.dir.path().join("docker");
    std::fs::create_dir(&elsewhere).expect("a directory");
    std::fs::write(elsewhere.join("config.json"), r#"{"credsStore":"test"}"#).expect("a file");
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH"));
    let variables = [("DOCKER_CONFIG", elsewhere.to_str().expect("text")), ("PATH", search.as_str())];
    check(start_with(&place, &origin, &variables, &[]), &place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_help_costs_a_client_no_time() {
    for fault in [
        quirk::retry_after(429, 60),
        quirk::status(429),
        quirk::status(500),
        quirk::status(502),
        quirk::status(503),
    ] {
        let (origin, place) = (Origin::start().await, Place::new());
        let image = image::put(&origin, "library/x:1", &[b"layer"]);
        origin.quirk("/v2/library", fault);
        let hubcap = place.start(&origin.url(), &[]);
        for path in [manifest("x", "1"), blob("x", &image.blobs[1])] {
            // What sends each client to its next endpoint at once, and tells of trouble where that does so too.
            for (asked, code) in [(path.clone(), 404), (format!("{path}?ns=docker.io"), 502)] {
                let (before, start) = (origin.log().len(), Instant::now());
                let answer = hubcap.get(&asked).await;
                assert_eq!(answer.status(), code);
                // Once, and once more after half a second; never after the minute that the first fault wants.
                let times = origin.log().len() - before;
                assert!(times <= 2, "{asked}: {times} requests");
                assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
                assert!(status(&answer).contains("upstream-failed"), "{}", status(&answer));
                let body = answer.text().await.expect("a body");
                assert!(body.contains("the upstream cannot be used now: "), "{body}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_is_told_at_once_and_a_silent_one_after_the_timeout() {
    let (mut origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    origin.quirk("manifests/1", quirk::hang());
    let hubcap = place.start(&origin.url(), &["--upstream-timeout", "200ms"]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.expect("a body").contains("did not answer"));
    origin.die().await;
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_passed_on() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    for refusal in [401, 403] {
        origin.heal();
        origin.quirk("/v2/library", quirk::status(refusal));
        for path in [manifest("x", "1"), blob("x", &image.blobs[1])] {
            let answer = hubcap.get(&path).await;
            assert_eq!(answer.status(), 403);
            assert_eq!(answer.headers().get("www-authenticate"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_registries_with_the_same_repository_are_never_mixed_up() {
    let (hub, other, place) = (Origin::start().await, Origin::start().await, Place::new());
    let ours = image::put(&hub, "org/app:1", &[b"ours"]);
    let theirs = image::put(&other, "org/app:1", &[b"theirs"]);
    let upstream = format!("ghcr.io={}", other.url());
    let hubcap = place.start(&hub.url(), &["--upstream", &upstream]);
    for _ in 0..2 {
        assert_eq!(hubcap.get(&manifest("org/app", "1")).await.bytes().await.expect("a body"), ours.manifest);
        let answer = hubcap.get(&format!("{}?ns=ghcr.io", manifest("org/app", "1"))).await;
        assert_eq!(answer.headers().get("oci-namespace").expect("told back"), "ghcr.io");
        assert_eq!(answer.bytes().await.expect("a body"), theirs.manifest);
    }
    // Docker Hub's layer is not GHCR's, although it is in the store.
    hubcap.get(&blob("org/app", &ours.blobs[1])).await.bytes().await.expect("a body");
    let answer = hubcap.get(&format!("{}?ns=ghcr.io", blob("org/app", &ours.blobs[1]))).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(other.count(&Method::HEAD, &ours.blobs[1]), 1);
}
