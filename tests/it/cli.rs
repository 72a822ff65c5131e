//! The commands, as a user types them.

use crate::support::hubcap::{Place, command, run};
use crate::support::image;
use crate::support::noise;
use crate::support::origin::{Origin, quirk};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with the place's store and state.
fn at(place: &Place, origin: &Origin, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (store, state) = (place.store(), place.state());
    let upstream = format!("docker.io={}", origin.url());
    let (verb, rest) = arguments.split_first().expect("a verb");
    let common = [
        "--store",
        store.to_str().expect("text"),
        "--state",
        state.to_str().expect("text"),
        "--upstream",
        &upstream,
    ];
    let output = run(place.dir.path(), &[&[*verb], common.as_slice(), rest].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_fills_the_store_and_a_second_run_fetches_nothing() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.like_docker_hub(None);
    let shared = noise(300_000, 1);
    let (amd, arm) = (
        image::put_for(&origin, "library/x:amd", &[&shared, b"amd"], "amd64"),
        image::put_for(&origin, "library/x:arm", &[&shared, b"arm"], "arm64"),
    );
    let index = image::put_index(&origin, "library/x:latest", &[(&amd, "amd64"), (&arm, "arm64")]);
    image::put(&origin, "org/y:2", &[b"y", &shared]);
    let (code, out, err) = at(&place, &origin, &["pull", "--platform", "linux/arm64", "x", "org/y:2"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains(&format!("docker.io/library/x:latest  {index}  fetched ")), "{out}");
    let stored = place.blobs();
    assert!(arm.blobs.iter().all(|digest| stored.contains(digest)));
    assert!(!stored.contains(&amd.blobs[2]), "the other platform's own layer");
    origin.forget();
    let (code, out, _) = at(&place, &origin, &["pull", "--platform", "linux/arm64", "x", "org/y:2"]);
    assert_eq!(code, Some(0));
    let total = out.lines().last().expect("a total");
    assert!(total.starts_with("total: fetched 0 bytes, ") && !total.contains(", 0 bytes already"), "{out}");
    assert_eq!(origin.log().len(), 0);

    let store = place.store();
    let listed = run(place.dir.path(), &["ls", "--store", store.to_str().expect("text")]);
    let listed = text(&listed.stdout);
    assert!(
        listed.contains("docker.io/library/x:latest")
            && listed.contains("linux/arm64")
            && listed.contains("docker.io/org/y:2"),
        "{listed}"
    );
    let json = run(place.dir.path(), &["ls", "--json", "--store", store.to_str().expect("text")]);
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (rows[0]["digest"].as_str(), rows[0]["complete"].as_bool()),
        (Some(index.as_str()), Some(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_fails_the_run_and_not_the_others() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let broken = image::put(&origin, "library/broken:1", &[b"other"]);
    origin.quirk(&broken.blobs[1], quirk::status(404));
    let (code, out, err) =
        at(&place, &origin, &["pull", "x:1", "missing", "broken:1", "registry.example/a/b"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("3 of 4 images"), "{err}");
    assert!(out.contains("docker.io/library/x:1  sha256:"), "{out}");
    assert!(
        out.contains(
            "docker.io/library/missing:latest  failed: manifest latest: the upstream does not have it"
        ),
        "{out}"
    );
    assert!(out.contains("docker.io/library/broken:1  failed: blob"), "{out}");
    assert!(out.contains("--upstream registry.example "), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_hands_its_work_to_the_daemon_that_has_the_store_and_else_says_who_holds_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    let (code, out, err) = at(&place, &origin, &["pull", "x:1", "missing"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("1 of 2 images"), "{err}");
    assert!(
        out.contains("docker.io/library/x:1  sha256:") && out.contains("missing:latest  failed"),
        "{out}"
    );
    let (code, out, _) = at(&place, &origin, &["pull", "x:1"]);
    assert!(code == Some(0) && out.contains("fetched 0 bytes"), "{out}");
    // In another state directory nobody knows of that daemon.
    let (store, state) = (place.store(), place.dir.path().join("other-state"));
    let (store, state) = (store.to_str().expect("text"), state.to_str().expect("text"));
    let output = run(place.dir.path(), &["pull", "x:1", "--store", store, "--state", state]);
    assert_eq!(output.status.code(), Some(1));
    let err = text(&output.stderr);
    assert!(err.contains(&hubcap.pid().to_string()), "{err}");
}

#[test]
fn check_prints_the_configuration_and_makes_nothing() {
    let place = Place::new();
    let store = place.store();
    let output = run(
        place.dir.path(),
        &["serve", "--check", "--store", store.to_str().expect("text"), "--tag-ttl", "1m"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.contains("listen = \"127.0.0.1:5443\"") && out.contains("tag-ttl = \"60s\""), "{out}");
    assert!(out.contains("url = \"https://registry-1.docker.io/\""), "{out}");
    assert!(!store.exists() && !place.dir.path().join(".local").exists());
}

#[test]
fn a_slip_is_named_and_exits_with_2() {
    let place = Place::new();
    let file = place.dir.path().join("hubcap.toml");
    std::fs::write(&file, "offline = true\nlisten-on = \"127.0.0.1:1\"\n").expect("written");
    let file = file.to_str().expect("text");
    for (arguments, named) in [
        (["serve", "--check", "--config", file].as_slice(), ["listen-on", "line 2"]),
        (&["serve", "--check", "--config", "/nowhere.toml"], ["/nowhere.toml", "No such file"]),
        (&["serve", "--check", "--upstream", "docker_io"], ["docker_io", "NAME=URL"]),
        (&["serve", "--check", "--upstream", "docker.io=ftp://x"], ["docker.io", "http"]),
        (&["serve", "--check", "--listen", "5443"], ["5443", "--listen"]),
        (&["serve", "--check", "--store", "/dev/null/x"], ["/dev/null", "store"]),
        (&["serve", "--no-such-flag"], ["--no-such-flag", "help"]),
        (&["pull", "UPPER"], ["UPPER", "lowercase"]),
    ] {
        let output = run(place.dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = text(&output.stderr);
        assert!(named.iter().all(|part| told.contains(part)), "{arguments:?}: {told}");
    }
    let output = command(place.dir.path())
        .args(["serve", "--check"])
        .env("HUBCAP_LISTN", "x")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("HUBCAP_LISTN"));
}

#[test]
fn a_file_of_a_checkout_that_is_a_device_or_a_pipe_is_refused_by_name() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = Place::new();
    let (device, pipe) = (place.dir.path().join("device"), place.dir.path().join("pipe"));
    std::os::unix::fs::symlink("/dev/zero", &device).expect("linked");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    for file in [&device, &pipe] {
        for flag in ["--frozen", "--config"] {
            let output = run(place.dir.path(), &["serve", "--check", &format!("{flag}={}", file.display())]);
            let told = text(&output.stderr);
            assert!(!output.status.success(), "{told}");
            assert!(told.contains(&format!("{}: it is no regular file", file.display())), "{told}");
        }
        let daemon_json = ["setup", "docker", "--print", "--daemon-json", file.to_str().expect("text")];
        let told = text(&run(place.dir.path(), &daemon_json).stderr);
        assert!(told.contains("it is no regular file"), "{told}");
    }
}

#[test]
fn who_reads_no_further_keeps_no_command_from_its_work() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut key = command(place.dir.path());
    let output = key.args(["key", "--store"]).arg(place.store()).stdout(writer).output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn variables_of_other_programs_may_be_in_any_encoding_and_hubcaps_are_refused_by_name() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    for (name, code) in [("OTHER", 0), ("HUBCAP_STORE", 2)] {
        let output = command(place.dir.path())
            .args(["serve", "--check"])
            .env(name, std::ffi::OsStr::from_bytes(b"/tmp/caf\xe9"))
            .output()
            .expect("it starts");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(code == 0 || told.contains(name), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_with_a_way_out() {
    let (origin, place) = (Origin::start().await, Place::new());
    let taken = origin.url().replace("http://", "");
    let (code, _, err) = at(&place, &origin, &["serve", "--listen", &taken]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&taken) && err.contains("--listen"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_a_daemon_from_none() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let https = hubcap.https.replace("https://", "");
    let http = hubcap.http.replace("http://", "");
    for (flag, address) in [("--listen", &https), ("--http-listen", &http)] {
        assert_eq!(run(place.dir.path(), &["health", flag, address]).status.code(), Some(0));
    }
    drop(hubcap);
    assert_eq!(run(place.dir.path(), &["health", "--listen", &https]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_cache_status_tell_the_same() {
    let (origin, place) = (Origin::start().await, Place::new());
    let digest = origin.put_blob(&noise(100_000, 3));
    let hubcap = place.start(&origin.url(), &[]);
    for (outcome, told) in [("miss", "hubcap; fwd=miss; stored"), ("hit", "hubcap; hit")] {
        let answer = hubcap.get(&format!("/v2/a/blobs/{digest}?secret=1")).await;
        assert_eq!(crate::support::hubcap::status(&answer), told);
        answer.bytes().await.expect("a body");
        let line = format!("outcome=\"{outcome}\" http.status=200 bytes=100000 duration_ms=");
        crate::support::eventually(&line, || hubcap.log().contains(&line)).await;
    }
    assert!(!hubcap.log().contains("secret"));
}
