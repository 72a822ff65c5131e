//! A store that is carried from job to job: what is kept of it, what its content is called, and what happens when the
//! workspace is emptied around it.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::eventually;
use crate::support::hubcap::{Hubcap, Place, blob, command, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{program, succeed};

const LOGIN: &str = "Bearer client-s3cret";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command on the place's store.
fn at(place: &Place, verb: &str, more: &[&str]) -> Output {
    let (store, state) = (place.store(), place.state());
    let mut arguments = vec![verb, "--store", store.to_str().expect("text")];
    if verb != "key" && verb != "ls" {
        arguments.extend(["--state", state.to_str().expect("text")]);
    }
    run(place.dir.path(), &[&arguments, more].concat())
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn key(place: &Place) -> String {
    succeeds(&at(place, "key", &[])).trim().to_owned()
}

async fn pull(hubcap: &Hubcap, name: &str, references: &[&str], image: &Image) {
    for reference in references {
        assert_eq!(hubcap.get(&manifest(name, reference)).await.status(), 200, "{}", hubcap.log());
    }
    for digest in &image.blobs {
        let answer = hubcap.get(&blob(name, digest)).await;
        assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), *digest);
    }
}

struct Images {
    origin: Origin,
    amd: Image,
    arm: Image,
    other: Image,
    private: Image,
}

/// `x:1` for two platforms that share a layer, `other:1`, and one that wants a login.
async fn images() -> Images {
    let origin = Origin::start().await;
    let shared = noise(60_000, 1);
    let amd = image::put_for(&origin, "library/x:amd", &[&shared, &noise(50_000, 2)], "amd64");
    let arm = image::put_for(&origin, "library/x:arm", &[&shared, &noise(50_000, 3)], "arm64");
    image::put_index(&origin, "library/x:1", &[(&amd, "amd64"), (&arm, "arm64")]);
    let other = image::put(&origin, "library/other:1", &[&noise(70_000, 4)]);
    let private = image::put(&origin, "org/private:1", &[&noise(80_000, 5)]);
    origin.make_private("org/private", "me:hunter2", LOGIN);
    Images { origin, amd, arm, other, private }
}

/// A store with all of it, as an earlier run left it.
async fn everything(images: &Images) -> Place {
    let place = Place::new();
    let hubcap = place.start(&images.origin.url(), &[]);
    pull(&hubcap, "x", &["1", &images.amd.digest], &images.amd).await;
    pull(&hubcap, "x", &["1", &images.arm.digest], &images.arm).await;
    pull(&hubcap, "other", &["1"], &images.other).await;
    let login = [("authorization", LOGIN)];
    let private = std::iter::once(manifest("org/private", "1"));
    for path in private.chain(images.private.blobs.iter().map(|digest| blob("org/private", digest))) {
        let answer = hubcap.ask(reqwest::Method::GET, &path, &login).await;
        assert_eq!(answer.status(), 200, "{}", hubcap.log());
        answer.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_keeps_what_the_run_used_for_its_platform_and_a_job_pulls_it_offline_afterwards() {
    let images = images().await;
    let place = everything(&images).await;
    let Images { origin, amd, arm, other, private } = &images;
    let hubcap = place.start(&origin.url(), &[]);
    // A client that has the shared layer already asks only for its own.
    for path in [manifest("x", "1"), manifest("x", &amd.digest), blob("x", &amd.blobs[2])] {
        hubcap.get(&path).await.bytes().await.expect("a body");
    }
    let held = at(&place, "trim", &["--used-in-this-run"]);
    assert_eq!(held.status.code(), Some(1));
    assert!(text(&held.stderr).contains(&hubcap.pid().to_string()), "{}", text(&held.stderr));
    assert_eq!(hubcap.stop(), Some(0));

    let before = place.blobs();
    let planned = succeeds(&at(&place, "trim", &["--used-in-this-run", "--dry-run"]));
    assert_eq!(place.blobs(), before);
    let said = succeeds(&at(&place, "trim", &["--used-in-this-run"]));
    for (name, why) in [
        ("docker.io/library/x:1 (linux/arm64)", "not used in this run"),
        ("docker.io/library/other:1", "not used in this run"),
        ("docker.io/org/private:1", "private"),
    ] {
        let told = |said: &str| said.lines().any(|line| line.starts_with(name) && line.ends_with(why));
        assert!(told(&planned) && told(&said), "{name}: {planned}{said}");
    }
    let left = place.blobs();
    assert!(amd.blobs.iter().all(|digest| left.contains(digest)), "what it needs stays, asked for or not");
    assert!(!left.contains(&arm.blobs[2]) && !left.contains(&arm.digest));
    assert!(!left.contains(&other.blobs[1]) && !left.contains(&private.blobs[1]));

    // An index that has lost a manifest is no damage.
    succeeds(&at(&place, "verify", &[]));
    let listed = succeeds(&at(&place, "ls", &[]));
    let line = listed.lines().find(|line| line.contains("library/x:1")).expect("listed");
    assert!(
        line.contains("linux/amd64") && !line.contains("arm64") && !line.contains("incomplete"),
        "{line}"
    );
    let layout = format!("oci:{}:docker.io/library/x:1", place.store().display());
    succeed(program("skopeo").args(["--override-arch", "amd64", "inspect", &layout]));
    origin.forget();
    let hubcap = place.start(&origin.url(), &["--offline"]);
    pull(&hubcap, "x", &["1", &amd.digest], amd).await;
    assert_eq!(origin.log().len(), 0);
    assert_eq!(hubcap.stop(), Some(0));
    // The other platform comes again when it is asked for.
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, "x", &["1", &arm.digest], arm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_keeps_the_private_only_when_asked_and_the_pinned_always() {
    let images = images().await;
    let place = everything(&images).await;
    assert_eq!(place.start(&images.origin.url(), &[]).stop(), Some(0));
    let pin = ["--used-in-this-run", "--pin", "docker.io/library/other"];
    succeeds(&at(&place, "trim", &pin));
    let left = place.blobs();
    assert!(images.other.blobs.iter().all(|digest| left.contains(digest)));
    assert!(!left.contains(&images.amd.blobs[1]));

    let place = everything(&images).await;
    succeeds(&at(&place, "trim", &["--keep-private"]));
    assert!(place.blobs().contains(&images.private.blobs[1]));
    succeeds(&at(&place, "trim", &[]));
    assert!(!place.blobs().contains(&images.private.blobs[1]));
    assert!(place.blobs().contains(&images.other.blobs[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_bounds_the_size_by_the_least_recently_used_and_needs_to_know_the_run() {
    let images = images().await;
    let place = everything(&images).await;
    let hubcap = place.start(&images.origin.url(), &[]);
    pull(&hubcap, "other", &["1"], &images.other).await;
    assert_eq!(hubcap.stop(), Some(0));
    // The index counts, too.
    let most = (place.bytes_beside_contents() + 100_000).to_string();
    let told = succeeds(&at(&place, "trim", &["--max-size", &most]));
    assert!(told.contains("least recently used"), "{told}");
    let left = place.blobs();
    assert!(left.contains(&images.other.blobs[1]) && !left.contains(&images.amd.blobs[1]));

    let other = Place::new();
    fs::create_dir_all(other.state()).expect("a directory");
    let unknown = at(&other, "trim", &["--used-in-this-run"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("--state"), "{}", text(&unknown.stderr));
    fs::copy(place.state().join("run.json"), other.state().join("run.json")).expect("copied");
    let another = at(&other, "trim", &["--used-in-this-run"]);
    let why = text(&another.stderr);
    assert!(why.contains(place.store().to_str().expect("text")) && why.contains("not on"), "{why}");
    assert!(succeeds(&at(&other, "trim", &[])).contains("there is no store"));
    assert!(!other.store().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_has_the_same_key_and_other_content_another() {
    let images = images().await;
    let (one, two) = (Place::new(), Place::new());
    let empty = key(&one);
    assert!(empty.len() == 32 && empty.bytes().all(|byte| byte.is_ascii_hexdigit()), "{empty}");
    // In another order, on other paths, at other times, beside a daemon and without.
    let hubcap = one.start(&images.origin.url(), &[]);
    assert_eq!(key(&one), empty);
    pull(&hubcap, "x", &["1", &images.amd.digest], &images.amd).await;
    pull(&hubcap, "other", &["1"], &images.other).await;
    let hubcap_two = two.start(&images.origin.url(), &[]);
    pull(&hubcap_two, "other", &["1"], &images.other).await;
    let less = key(&two);
    pull(&hubcap_two, "x", &["1", &images.amd.digest], &images.amd).await;
    assert_eq!(hubcap_two.stop(), Some(0));
    let full = key(&one);
    assert_eq!(full, key(&two));
    assert!(full != less && full != empty && less != empty);
    // A run that finds everything changes nothing, and says what it began with.
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = one.start(&images.origin.url(), &[]);
    let written: serde_json::Value =
        serde_json::from_slice(&fs::read(one.state().join("run.json")).expect("written")).expect("JSON");
    assert_eq!(written["key"], full.as_str());
    assert_eq!(written["pid"], hubcap.pid());
    assert_eq!(written["store"], one.store().to_str().expect("text"));
    assert_eq!(format!("https://{}", written["listen"].as_str().expect("an address")), hubcap.https);
    pull(&hubcap, "x", &["1"], &images.amd).await;
    assert_eq!(hubcap.stop(), Some(0));
    assert_eq!(key(&one), full);
    // The same contents under another name are another store; so is one with a private mark.
    let index = fs::read_to_string(one.store().join("index.json")).expect("read");
    let changed = index.replace("library/other:1", "library/other:2");
    fs::write(one.store().join("index.json"), changed).expect("written");
    assert_ne!(key(&one), full);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_removed_while_a_daemon_uses_it_is_made_anew_and_no_pull_fails() {
    let images = images().await;
    let place = everything(&images).await;
    let hubcap = place.start(&images.origin.url(), &[]);
    pull(&hubcap, "x", &["1", &images.amd.digest], &images.amd).await;
    fs::remove_dir_all(place.store()).expect("removed");
    pull(&hubcap, "other", &["1"], &images.other).await;
    eventually("the store is made anew", || place.store().join("index.json").exists()).await;
    pull(&hubcap, "x", &["1", &images.amd.digest], &images.amd).await;
    pull(&hubcap, "x", &["1", &images.amd.digest], &images.amd).await;
    let log = hubcap.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("actions/checkout"), "{log}");
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&at(&place, "verify", &[]));
    images.origin.forget();
    let hubcap = place.start(&images.origin.url(), &["--offline"]);
    pull(&hubcap, "other", &["1"], &images.other).await;
    assert_eq!(status(&hubcap.get(&blob("x", &images.amd.blobs[2])).await), "hubcap; hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_before_the_checkout_says_so() {
    let (origin, place) = (Origin::start().await, Place::new());
    let workspace = place.dir.path().join("workspace");
    fs::create_dir(&workspace).expect("a directory");
    let start = |home: &Path| {
        let mut command = command(home);
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.args(["--upstream", &format!("docker.io={}", origin.url())]);
        Hubcap::spawn({
            command.env("GITHUB_WORKSPACE", &workspace).env("GITHUB_REPOSITORY", "me/it");
            command
        })
    };
    let hubcap = start(place.dir.path());
    assert!(hubcap.log().contains("after actions/checkout"), "{}", hubcap.log());
    assert!(workspace.join(".hubcap/CACHEDIR.TAG").exists() && workspace.join(".hubcap/.gitignore").exists());
    assert_eq!(hubcap.stop(), Some(0));
    fs::create_dir(workspace.join(".git")).expect("a directory");
    let hubcap = start(place.dir.path());
    assert!(!hubcap.log().contains("checkout"), "{}", hubcap.log());
}

/// Every file and directory below, with what `ls -l` would say of it.
fn tree(dir: &Path) -> Vec<(std::path::PathBuf, fs::Metadata)> {
    let mut found = Vec::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).expect("a directory").flatten() {
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() {
                rest.push(entry.path());
            }
            found.push((entry.path(), metadata));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_archive_that_is_made_while_pulls_run_opens_and_serves() {
    let (origin, place) = (Origin::start().await, Place::new());
    let layers: Vec<Vec<u8>> = (0..40).map(|seed| noise(400_000, seed)).collect();
    let images: Vec<Image> = layers
        .iter()
        .enumerate()
        .map(|(number, layer)| image::put(&origin, &format!("library/x{number}:1"), &[layer]))
        .collect();
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, "x0", &["1"], &images[0]).await;
    let pulling = tokio::spawn(async move {
        for (number, image) in images.iter().enumerate() {
            pull(&hubcap, &format!("x{number}"), &["1"], image).await;
        }
        (hubcap, images)
    });
    let mut archives = 0;
    while !pulling.is_finished() || archives < 3 {
        let copy = Place::new();
        fs::create_dir(copy.store()).expect("a directory");
        let archive = copy.dir.path().join("store.tar");
        let mut tar = program("tar");
        let tarred =
            tar.arg("-cf").arg(&archive).arg("-C").arg(place.store()).arg(".").output().expect("tar starts");
        // 1 is a file that changed or went meanwhile, as ingests do.
        assert!(matches!(tarred.status.code(), Some(0 | 1)), "{}", text(&tarred.stderr));
        succeed(program("tar").arg("-xf").arg(&archive).arg("-C").arg(copy.store()));
        let listed = succeeds(&at(&copy, "ls", &[]));
        let whole: Vec<String> = listed
            .lines()
            .filter(|line| !line.contains("incomplete"))
            .filter_map(|line| Some(line.strip_prefix("docker.io/library/")?.split_once(':')?.0.to_owned()))
            .collect();
        assert!(whole.contains(&"x0".to_owned()), "{listed}");
        let offline = copy.start(&origin.url(), &["--offline"]);
        for name in whole {
            let answer = offline.get(&manifest(&name, "1")).await;
            assert_eq!(answer.status(), 200, "{name}: {}", offline.log());
            let manifest: serde_json::Value =
                serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a manifest");
            let digest = manifest["layers"][0]["digest"].as_str().expect("a layer");
            let layer = offline.get(&blob(&name, digest)).await;
            assert_eq!(image::sha256(&layer.bytes().await.expect("a body")), digest);
        }
        assert_eq!(offline.stop(), Some(0));
        succeeds(&at(&copy, "verify", &[]));
        archives += 1;
    }
    let (hubcap, _) = pulling.await.expect("pulled");
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_few_plain_files_of_its_user_with_nothing_half_done_and_no_secret() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let images = images().await;
    let place = everything(&images).await;
    let owner = fs::metadata(place.dir.path()).expect("metadata").uid();
    let found = tree(&place.store());
    let below =
        |name: &str| found.iter().filter(|(path, _)| path.starts_with(place.store().join(name))).count();
    assert_eq!((below("ingest"), below("quarantine")), (1, 1), "the directories, and nothing in them");
    let others = found.len() - below("blobs");
    assert!(others < 40, "{others} files beside the contents");
    for (path, metadata) in &found {
        let mode = metadata.permissions().mode();
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert!(metadata.uid() == owner && mode & wanted == wanted, "{}: {mode:o}", path.display());
        assert!(metadata.is_dir() || metadata.is_file(), "{}", path.display());
        if metadata.is_file() {
            let bytes = fs::read(path).expect("readable");
            for secret in ["s3cret", "hunter2", "PRIVATE KEY"] {
                assert!(
                    !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
                    "{}",
                    path.display()
                );
            }
        }
    }
    let index: u64 = found
        .iter()
        .filter(|(path, _)| path.starts_with(place.store().join("index-sled034-v2")))
        .map(|(_, one)| one.len())
        .sum();
    println!("{} files, of them {} contents; the index has {index} bytes", found.len(), place.blobs().len());
}
