//! What is private stays so whatever becomes of the store: when it is removed, named before it is there, exported, imported, older
//! than its index, or damaged.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hubcap_oci::media_type;
use serde_json::json;

use crate::permission::{EVIL, SECRET, World};
use crate::support::hubcap::{Hubcap, Place, blob, command, manifest, run, status};
use crate::support::image;
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, noise};

/// The private image as a whole, by its login.
async fn pull_private(world: &World, hubcap: &Hubcap) {
    let image = &world.private;
    let blobs = image.blobs.iter().map(|digest| blob("org/private", digest));
    for path in std::iter::once(manifest("org/private", "1")).chain(blobs) {
        let answer = hubcap.get_as(&path, Some(SECRET)).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.expect("a body");
    }
}

/// The store's `index.json`, once it marks a repository as private.
async fn marked(place: &Place) -> PathBuf {
    let index = place.store().join("index.json");
    eventually("it is marked", || {
        std::fs::read_to_string(&index).is_ok_and(|text| text.contains("io.hubcap.private"))
    })
    .await;
    index
}

/// The statuses of all of the private image for who has no login there, by the registry that has it or by another one.
async fn statuses(world: &World, hubcap: &Hubcap, repository: &str, namespace: &str) -> Vec<u16> {
    let image = &world.private;
    let blobs = image.blobs.iter().map(|digest| blob(repository, digest));
    let mut statuses = Vec::new();
    for path in [manifest(repository, "1"), manifest(repository, &image.digest)].into_iter().chain(blobs) {
        statuses.push(hubcap.get(&format!("{path}?ns={namespace}")).await.status().as_u16());
    }
    statuses
}

fn succeeds(place: &Place, arguments: &[&str]) -> String {
    let output = run(place.dir.path(), arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_removed_while_hubcap_runs_makes_nothing_public() {
    let world = World::new().await;
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    std::fs::remove_dir_all(world.place.store()).expect("removed");
    pull_private(&world, &hubcap).await;
    eventually("it is stored again", || world.has_layer()).await;
    let statuses = statuses(&world, &hubcap, "org/private", "docker.io").await;
    assert!(statuses.iter().all(|status| [401, 403].contains(status)), "{statuses:?}");
    assert_eq!(hubcap.stop(), Some(0));
    world.gc_private();
    assert!(world.place.blobs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_a_store_gives_nobody_what_comes_later() {
    let world = World::new().await;
    let image = &world.private;
    assert_eq!(world.start().stop(), Some(0));
    let entry = |digest: &str, tag: &str| {
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": image.manifest.len(),
            "annotations": {"io.hubcap.repository": format!("{EVIL}/evil/image"),
                "org.opencontainers.image.ref.name": format!("{EVIL}/evil/image:{tag}")}})
    };
    let all = [entry(&image.digest, "1"), entry(&image.blobs[1], "2")];
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": all});
    std::fs::write(world.place.store().join("index.json"), index.to_string()).expect("written");
    // Its registry has nothing of it.
    world.evil.quirk("/evil/", quirk::status(404));
    for is_again in [false, true] {
        let hubcap = world.start();
        pull_private(&world, &hubcap).await;
        let statuses = statuses(&world, &hubcap, "evil/image", EVIL).await;
        assert!(statuses.iter().all(|status| *status == 404), "{is_again}: {statuses:?}");
        assert_eq!(hubcap.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_nothing_that_only_its_image_names() {
    let world = World::new().await;
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    world.pull(&hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    let (store, out) = (world.place.store(), world.place.dir.path().join("out.tar"));
    let ours = format!("docker.io={}", world.origin.url());
    let theirs = format!("{EVIL}={}", world.evil.url());
    let export = |image: &str, format: &str| {
        let at = ["--store", text(&store), "--upstream", &ours, "--upstream", &theirs];
        let what = ["export", image, "--format", format, "--platform", "linux/amd64", "--output", text(&out)];
        run(world.place.dir.path(), &[&what[..], &at].concat())
    };
    for format in ["docker-archive", "oci-archive"] {
        let output = export(&format!("{EVIL}/evil/image:1"), format);
        assert!(!output.status.success() && !out.exists(), "{output:?}");
        let output = export("docker.io/org/private:1", format);
        assert!(output.status.success(), "{output:?}");
        let mode = std::fs::metadata(&out).expect("written").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "for its owner alone");
        std::fs::remove_file(&out).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_private_image_has_nothing_of_another_private_one() {
    let world = World::new().await;
    // Both are private, and the other one names the layer without having it, in a registry of its own or in the same one.
    world.evil.make_private("evil/image", "me:hunter2", SECRET);
    let other = image::put(&world.origin, "org/other:1", &[&noise(200_000, 1)]);
    world.origin.make_private("org/other", "me:hunter2", SECRET);
    world.origin.quirk(&format!("/org/other/blobs/{}", world.private.blobs[1]), quirk::status(404));
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    let configs = [
        (manifest("evil/image", "1"), blob("evil/image", &world.named.blobs[0]), EVIL),
        (manifest("org/other", "1"), blob("org/other", &other.blobs[0]), "docker.io"),
    ];
    for path in configs.iter().flat_map(|(manifest, config, at)| [(manifest, at), (config, at)]) {
        let answer = hubcap.get_as(&format!("{}?ns={}", path.0, path.1), Some(SECRET)).await;
        assert_eq!(answer.status(), 200, "{path:?}");
        answer.bytes().await.expect("a body");
    }
    let (store, out) = (world.place.store(), world.place.dir.path().join("out.tar"));
    let state = world.place.state();
    let upstreams = [format!("docker.io={}", world.origin.url()), format!("{EVIL}={}", world.evil.url())];
    let export = |image: &str| {
        let at = ["--store", text(&store), "--state", text(&state)];
        let from = ["--upstream", &upstreams[0], "--upstream", &upstreams[1]];
        let what = ["export", image, "--platform", "linux/amd64", "--output", text(&out)];
        run(world.place.dir.path(), &[&what[..], &at, &from].concat())
    };
    let exports_its_own = |when: &str| {
        for name in [format!("{EVIL}/evil/image:1"), "docker.io/org/other:1".into()] {
            let output = export(&name);
            assert!(!output.status.success() && !out.exists(), "{name} {when}: {output:?}");
        }
        let output = export("docker.io/org/private:1");
        assert!(output.status.success(), "{when}: {output:?}");
        std::fs::remove_file(&out).expect("removed");
    };
    exports_its_own("beside the daemon");
    assert_eq!(hubcap.stop(), Some(0));
    exports_its_own("without one");
    // Who has brought what is known no more: the registry has to say it.
    std::fs::remove_dir_all(store.join("index-sled034-v2")).expect("removed");
    assert!(!export("docker.io/org/private:1").status.success() && !out.exists());
}

/// Checks that all that the store has is only imported.
fn is_for_this_machine(place: &Place) {
    for digest in place.blobs() {
        let path = place.store().join("blobs").join(digest.replace(':', "/"));
        let mode = std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o400, "{digest}");
    }
}

/// An image in the form of `docker save`, which says nothing of who may have it, and where it is.
async fn saved() -> (Place, PathBuf) {
    let (origin, place) = (Origin::start().await, Place::new());
    image::real(&origin);
    let (archive, store) = (place.dir.path().join("image.tar"), place.store());
    let (upstream, out) = (format!("docker.io={}", origin.url()), ["--output", text(&archive)]);
    let export = ["export", "docker.io/org/app:1", "--platform", "linux/amd64", "--upstream", &upstream];
    succeeds(&place, &[&export[..], &["--store", text(&store)], &out].concat());
    (place, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_names_what_was_imported_makes_it_nobody_elses() {
    let (_other, archive) = saved().await;
    let place = Place::new();
    let (store, lock) = (place.store(), place.dir.path().join("hubcap.lock"));
    let imported =
        succeeds(&place, &["import", text(&archive), "--tag", "my.test/copy:1", "--store", text(&store)]);
    let digest = imported.split_whitespace().last().expect("a digest");
    let locked = format!("version = 1\n\n[images.\"my.test/copy:2\"]\ndigest = \"{digest}\"\n");
    std::fs::write(&lock, locked).expect("written");
    let frozen = format!("--frozen={}", text(&lock));
    // With the lock, and then without it: the tag is known.
    for more in [[frozen.as_str()].as_slice(), &[]] {
        let flags = [&["--upstream", "my.test", "--offline"], more].concat();
        let hubcap = place.start("http://127.0.0.1:9", &flags);
        let answer = hubcap.get(&format!("{}?ns=my.test", manifest("copy", "2"))).await;
        assert_eq!(answer.status(), 200, "{more:?}");
        is_for_this_machine(&place);
        assert_eq!(hubcap.stop(), Some(0));
    }
    succeeds(&place, &["gc", "--private", "--store", text(&store)]);
    assert!(place.blobs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_is_for_this_machine_and_is_carried_nowhere() {
    let (_other, archive) = saved().await;
    let place = Place::new();
    let store = place.store();
    for _ in 0..2 {
        succeeds(&place, &["import", text(&archive), "--tag", "my.test/copy:1", "--store", text(&store)]);
        is_for_this_machine(&place);
    }
    for is_lost in [false, true] {
        if is_lost {
            std::fs::remove_dir_all(store.join("index-sled034-v2")).expect("removed");
        }
        let upstreams = ["--upstream", "my.test", "--upstream", "other.test", "--offline"];
        let hubcap = place.start("http://127.0.0.1:9", &upstreams);
        let answer = hubcap.get(&format!("{}?ns=my.test", manifest("copy", "1"))).await;
        let found: serde_json::Value =
            serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a manifest");
        for digest in [&found["config"]["digest"], &found["layers"][0]["digest"]] {
            let path = blob("copy", digest.as_str().expect("a digest"));
            let answer = hubcap.get(&format!("{path}?ns=my.test")).await;
            assert_eq!(answer.status(), 200, "{path}, index lost: {is_lost}");
            // That an image has it is no reason to give it as another one's.
            assert_ne!(hubcap.get(&format!("{path}?ns=other.test")).await.status(), 200);
        }
        assert_eq!(hubcap.stop(), Some(0));
    }
    succeeds(&place, &["gc", "--private", "--store", text(&store)]);
    assert!(place.blobs().is_empty());
    let names = std::fs::read_to_string(store.join("index.json")).expect("there");
    assert!(!names.contains("my.test"), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_a_store_gives_nobody_a_private_manifest_that_an_index_names() {
    let world = World::new().await;
    let (size, digest) = (world.private.manifest.len(), &world.private.digest);
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": size}]});
    world.evil.put_manifest("evil/image:index", media_type::OCI_INDEX, index.to_string().as_bytes());
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    let path = format!("{}?ns={EVIL}", manifest("evil/image", "index"));
    assert_eq!(hubcap.get(&path).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    world.evil.quirk(&format!("/manifests/{digest}"), quirk::status(404));
    let upstream = format!("{EVIL}={}", world.evil.url());
    for is_copy in [false, true] {
        let other = Place::new();
        let mut from = world.place.store();
        if is_copy {
            // As zip does, and what uploads files one by one.
            let copy = other.dir.path().join("copy");
            let mut cp = std::process::Command::new("cp");
            cp.args(["--recursive", "--no-preserve=mode"]).arg(&from).arg(&copy);
            assert!(cp.status().expect("cp").success());
            from = copy;
        }
        succeeds(&other, &["import", text(&from), "--store", text(&other.store())]);
        let hubcap = other.start(&world.origin.url(), &["--upstream", &upstream]);
        let stolen = hubcap.get(&format!("{}?ns={EVIL}", manifest("evil/image", digest))).await;
        assert_eq!(stolen.status(), 404, "a copy without modes: {is_copy}");
        assert_eq!(hubcap.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_removes_what_is_private_from_a_store_whose_names_somebody_has_removed() {
    let world = World::new().await;
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    let index = marked(&world.place).await;
    drop(hubcap);
    std::fs::remove_file(&index).expect("removed");
    succeeds(&world.place, &["trim", "--store", text(&world.place.store())]);
    assert!(world.place.blobs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_an_older_index_json_does_not_mark_go_with_what_is_private() {
    let world = World::new().await;
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    let index = marked(&world.place).await;
    // Written to the disk, and then killed.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    drop(hubcap);
    let older = std::fs::read_to_string(&index).expect("there").replace("io.hubcap.private", "another");
    std::fs::write(&index, older).expect("written");
    let bad = world.place.store().join("index-sled034-v2.bad");
    std::fs::create_dir(&bad).expect("made");
    std::fs::write(bad.join("db"), "org/private").expect("written");
    world.gc_private();
    assert!(world.place.blobs().is_empty());
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", "org/private"])
        .arg(world.place.store())
        .output();
    let found = String::from_utf8_lossy(&found.expect("grep").stdout).into_owned();
    assert!(found.is_empty(), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_damaged_before_it_was_closed_is_filled_again_with_marks_and_names() {
    for damage in ["cut", "rolled back"] {
        let (mut origin, place) = (Origin::start().await, Place::new());
        let private = image::put(&origin, "org/private:1", &[b"secret"]);
        let public = image::put(&origin, "library/x:1", &[b"layer"]);
        let db = place.store().join("index-sled034-v2/db");
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
        for path in [manifest("x", "1"), blob("x", &public.blobs[1]), manifest("org/private", "1")] {
            assert_eq!(hubcap.get(&path).await.status(), 200, "{path}");
        }
        assert_eq!(hubcap.stop(), Some(0));
        let before = std::fs::read(&db).expect("an index");
        // Everybody could have it. Not any more.
        origin.make_private("org/private", "me:hunter2", SECRET);
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "0s"]);
        assert_eq!(hubcap.get_as(&manifest("org/private", "1"), Some(SECRET)).await.status(), 200);
        marked(&place).await;
        let content = if damage == "cut" { Vec::new() } else { before };
        std::fs::write(&db, content).expect("written");
        assert_eq!(hubcap.stop(), Some(0));
        origin.die().await;
        let hubcap = place.start(&origin.url(), &["--tag-ttl", "1h"]);
        for path in [manifest("x", "1"), blob("x", &public.blobs[1])] {
            let answer = hubcap.get(&path).await;
            assert!(status(&answer).starts_with("hubcap; hit"), "{damage}: {path}: {}", status(&answer));
        }
        for path in [manifest("org/private", "1"), manifest("org/private", &private.digest)] {
            assert_eq!(hubcap.get(&path).await.status(), 404, "{damage}: {path}");
        }
        assert_eq!(hubcap.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_by_another_name_is_one_too() {
    let world = World::new().await;
    let hubcap = world.start();
    pull_private(&world, &hubcap).await;
    assert_eq!(hubcap.stop(), Some(0));
    let (home, output) = (world.place.dir.path(), world.place.dir.path().join("output"));
    let link = home.join("workspace");
    std::os::unix::fs::symlink(home, &link).expect("linked");
    let mut down = command(home);
    down.arg("down").arg("--store").arg(world.place.store()).arg("--state").arg(home.join("another"));
    down.env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &output).env("GITHUB_WORKSPACE", &link);
    assert!(down.output().expect("hubcap starts").status.success());
    assert!(!world.has_layer());
    assert!(std::fs::read_to_string(&output).expect("outputs").contains("key="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_no_manifest() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[b"layer"]);
    let hubcap = place.start(&origin.url(), &[]);
    for path in [manifest("x", "1"), blob("x", &image.blobs[0])] {
        assert_eq!(hubcap.get(&path).await.status(), 200, "{path}");
    }
    assert_eq!(hubcap.get(&manifest("x", &image.blobs[0])).await.status(), 404);
    assert_eq!(hubcap.stop(), Some(0));
}
