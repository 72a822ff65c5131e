//! What a registry gives only to a login stays between it and that login.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::tree;
use crate::support::hubcap::{Hubcap, Place, blob, command, header, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{install, succeed};
use crate::support::user::User;

const SECRET: &str = "Bearer client-s3cret";

async fn origin() -> (Origin, Image) {
    let origin = Origin::start().await;
    let image = image::put(&origin, "org/private:1", &[&noise(200_000, 1)]);
    image::put(&origin, "library/public:1", &[&noise(200_000, 2)]);
    origin.make_private("org/private", "me:hunter2", SECRET);
    (origin, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn private_content_is_given_only_to_whom_the_upstream_gives_it() {
    let ((mut origin, image), place) = (origin().await, Place::new());
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
    let paths = [
        manifest("org/private", "1"),
        manifest("org/private", &image.digest),
        blob("org/private", &image.blobs[1]),
    ];
    for path in &paths {
        assert_eq!(hubcap.get_as(path, None).await.status(), 403, "{path}");
    }
    // Not because of what was remembered of the others.
    for path in &paths {
        assert_eq!(hubcap.get_as(path, Some(SECRET)).await.status(), 200, "{path}");
    }
    for path in &paths {
        for other in [None, Some("Bearer another"), Some("Basic bWU6aHVudGVyMw==")] {
            let answer = hubcap.get_as(path, other).await;
            assert_eq!(answer.status(), 403, "{path} {other:?}: {}", status(&answer));
        }
        // Within the grant nobody is asked again.
        origin.forget();
        let answer = status(&hubcap.get_as(path, Some(SECRET)).await);
        assert!(answer.starts_with("hubcap; hit"), "{path}: {answer}");
        assert_eq!(origin.log().len(), 0);
    }
    // Another process knows nothing of the grant, and asks before it gives.
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
    assert_eq!(hubcap.get_as(&paths[2], None).await.status(), 403);
    let answer = hubcap.get_as(&paths[2], Some(SECRET)).await;
    assert_eq!(status(&answer), "hubcap; fwd=miss; fwd-status=200; detail=granted");
    assert_eq!(hubcap.stop(), Some(0));
    // Nor does one that cannot ask.
    origin.die().await;
    let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
    for path in &paths {
        for who in [None, Some(SECRET)] {
            assert_eq!(hubcap.get_as(path, who).await.status(), 404, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_outlives_the_index_and_a_private_image_can_be_kept_out_of_an_archive() {
    let ((origin, image), place) = (origin().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    for path in [manifest("org/private", "1"), blob("org/private", &image.blobs[1])] {
        assert_eq!(hubcap.get_as(&path, Some(SECRET)).await.status(), 200);
    }
    assert_eq!(hubcap.get_as(&manifest("library/public", "1"), Some("Bearer whatever")).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    std::fs::remove_dir_all(place.store().join("index-sled034-v2")).expect("removed");
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get_as(&manifest("org/private", &image.digest), None).await.status(), 403);
    // What everybody may have is not private because a login came for it first.
    let public = hubcap.get_as(&manifest("library/public", "1"), None).await;
    assert_eq!(public.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    let store = place.store();
    let gc = run(place.dir.path(), &["gc", "--private", "--store", store.to_str().expect("text")]);
    let told = String::from_utf8_lossy(&gc.stdout);
    assert!(told.contains("docker.io/org/private:1") && !told.contains("public"), "{told}");
    assert!(!place.blobs().contains(&image.blobs[1]) && !place.blobs().contains(&image.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn hubcaps_own_login_is_for_its_clients_and_marks_what_it_brings() {
    let ((origin, image), place) = (origin().await, Place::new());
    let start = |login: bool| {
        let mut command = crate::support::hubcap::command(place.dir.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.arg("--store").arg(place.store()).arg("--state").arg(place.state());
        command.args(["--upstream", &format!("docker.io={}", origin.url())]);
        if login {
            command.env("HUBCAP_LOGIN", "me:hunter2");
        }
        Hubcap::spawn(command)
    };
    let path = manifest("org/private", "1");
    let hubcap = start(true);
    assert_eq!(hubcap.get_as(&path, None).await.status(), 200);
    assert_eq!(hubcap.get_as(&blob("org/private", &image.blobs[1]), None).await.status(), 200);
    assert_eq!(hubcap.get_as(&manifest("library/public", "1"), None).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    // The next job has the store, and not the login.
    let hubcap = start(false);
    assert_eq!(hubcap.get_as(&path, None).await.status(), 403);
    assert_eq!(hubcap.get_as(&blob("org/private", &image.blobs[1]), None).await.status(), 403);
    let public = hubcap.get_as(&manifest("library/public", "1"), None).await;
    assert!(status(&public).starts_with("hubcap; hit"), "{}", status(&public));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_the_store_or_an_archive_of_it() {
    let ((origin, image), place) = (origin().await, Place::new());
    origin.like_docker_hub(None);
    let mut command = crate::support::hubcap::command(place.dir.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    command.arg("--store").arg(place.store()).arg("--state").arg(place.state());
    command.args(["--upstream", &format!("docker.io={}", origin.url())]);
    command.env("HUBCAP_LOGIN", "me:hunter2").env("HUBCAP_LOG", "trace");
    let hubcap = Hubcap::spawn(command);
    let mut answers = String::new();
    for who in [None, Some(SECRET), Some("Bearer wr0ng-s3cret")] {
        for path in
            [manifest("org/private", "1"), blob("org/private", &image.blobs[1]), manifest("org/private", "2")]
        {
            let answer = hubcap.get_as(&path, who).await;
            answers += &header(&answer, "www-authenticate");
            answers += &format!("{:?}", answer.headers());
            if answer.status() != 200 {
                answers += &answer.text().await.expect("a body");
            } else {
                answer.bytes().await.expect("a body");
            }
        }
    }
    let log = hubcap.log();
    assert_eq!(hubcap.stop(), Some(0));
    let key = std::fs::read_to_string(place.state().join("ca.key")).expect("the key");
    let key = key.lines().nth(1).expect("a line of it");
    let archive = place.dir.path().join("store.tar");
    crate::support::programs::succeed(
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(place.store()).arg("."),
    );
    // As they are, and as Basic has them.
    for secret in
        ["hunter2", "bWU6aHVudGVyMg", "client-s3cret", "wr0ng-s3cret", "s3cret-signature", "token-1", key]
    {
        assert!(!answers.contains(secret), "{secret} in an answer: {answers}");
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} in the log");
        for place in [&place.store(), &archive] {
            let found = Command::new("grep").args(["-rqa", "--", secret]).arg(place).status().expect("grep");
            assert_eq!(found.code(), Some(1), "{secret} in {}", place.display());
        }
    }
}

/// The modes of everything in a directory, by path.
fn modes(root: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let metadata = std::fs::symlink_metadata(&path).expect("there");
        if metadata.is_dir() {
            rest.extend(std::fs::read_dir(&path).expect("listed").map(|entry| entry.expect("read").path()));
        }
        found.push((path, metadata.permissions().mode() & 0o777));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_its_owners_alone_under_any_umask() {
    let ((origin, image), place) = (origin().await, Place::new());
    let serve = place.serve(&origin.url(), &[]);
    let mut shell = Command::new("sh");
    shell.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(serve.get_program()).args(serve.get_args());
    let hubcap = Hubcap::spawn(shell);
    for path in [manifest("org/private", "1"), blob("org/private", &image.blobs[1])] {
        assert_eq!(hubcap.get_as(&path, Some(SECRET)).await.status(), 200);
    }
    assert_eq!(hubcap.stop(), Some(0));
    let store = place.store();
    for (path, mode) in modes(&store).into_iter().chain(modes(&place.state())) {
        assert_eq!(mode & 0o002, 0, "{} has the mode {mode:o}", path.display());
        if path == store || path.starts_with(store.join("blobs")) {
            assert_eq!(mode & 0o077, 0, "{} has the mode {mode:o}", path.display());
        }
    }
}

/// Files of podman for who runs the test alone: with these it passes the machine's over, so that the test does not touch them.
fn podmans_files(place: &Place) -> PathBuf {
    let home = place.dir.path().join(".config/containers");
    std::fs::create_dir_all(&home).expect("made");
    std::fs::write(home.join("registries.conf"), "# mine\n").expect("written");
    home
}

/// A daemon that `up` started; `down` stops it.
struct Started<'a>(&'a Place);

impl Started<'_> {
    fn command(&self, verb: &str) -> Command {
        let mut command = command(self.0.dir.path());
        command.arg(verb).arg("--store").arg(self.0.store()).arg("--state").arg(self.0.state());
        command
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let _ = self.command("down").output();
    }
}

#[test]
fn down_undoes_what_up_has_done_also_with_a_login_for_what_only_up_was_told_of() {
    let place = Place::new();
    let home = podmans_files(&place);
    let (started, before) = (Started(&place), tree(&home));
    let mut up = started.command("up");
    up.args(["--client", "podman", "--listen", "127.0.0.1:0", "--upstream", "r.example=http://127.0.0.1:9"]);
    succeed(up.env("HUBCAP_LOGIN", "r.example=me:x"));
    assert_ne!(tree(&home), before);
    succeed(started.command("down").env("HUBCAP_LOGIN", "r.example=me:x"));
    assert_eq!(tree(&home), before);
    let mut serve = started.command("serve");
    let refused = serve.env("HUBCAP_LOGIN", "r.example=me:x").output().expect("it ends");
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn the_daemon_that_up_starts_has_no_secret_of_the_job_in_its_environment() {
    let place = Place::new();
    podmans_files(&place);
    let started = Started(&place);
    let mut up = started.command("up");
    up.args(["--client", "podman", "--listen", "127.0.0.1:0", "--upstream", "docker.io=http://127.0.0.1:9"]);
    for name in ["GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "AWS_SECRET_ACCESS_KEY", "INPUT_PASSWORD"] {
        up.env(name, "hunter2");
    }
    succeed(up.env("HUBCAP_LOG", "debug"));
    let run = std::fs::read(place.state().join("run.json")).expect("a run");
    let run: serde_json::Value = serde_json::from_slice(&run).expect("json");
    let environment = std::fs::read(format!("/proc/{}/environ", run["pid"])).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("HUBCAP_LOG=debug") && environment.contains("HOME="), "{environment}");
    assert!(!environment.contains("hunter2"), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_was_started_with_its_users_other_processes_cannot_read() {
    let (place, user) = (Place::new(), User::new());
    let dir = place.dir.path();
    install(env!("CARGO_BIN_EXE_hubcap"), dir.join("hubcap"));
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    for owned in [place.state(), place.store()] {
        std::fs::create_dir_all(&owned).expect("made");
        user.owns(&owned);
    }
    let mut serve = user.command(dir.join("hubcap").to_str().expect("text"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    serve.args(["--upstream", "docker.io=http://127.0.0.1:9"]);
    serve.arg("--state").arg(place.state()).arg("--store").arg(place.store());
    serve.env("HOME", place.state()).env("HUBCAP_LOGIN", "docker.io=me:hunter2");
    let hubcap = Hubcap::spawn(serve);
    assert_eq!(hubcap.get("/v2/").await.status(), 200);
    for name in ["environ", "mem", "fd/0"] {
        let read =
            user.command("head").args(["-c", "1"]).arg(format!("/proc/{}/{name}", hubcap.pid())).output();
        let said = String::from_utf8_lossy(&read.expect("head").stderr).into_owned();
        assert!(said.contains("Permission denied"), "{name}: {said}");
    }
    assert_eq!(hubcap.stop(), Some(0));
}
