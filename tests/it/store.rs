//! The store: a layout that other tools open, and an index that may be lost at any time.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use reqwest::Method;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::disk::SmallDisk;
use crate::support::hubcap::{Hubcap, Place, blob, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::{Origin, quirk};

/// A store with one image, pulled through and stopped.
async fn filled() -> (Origin, Place, Image) {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(50_000, 1), &noise(70_000, 2)]);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&manifest("x", "1")).await;
    for digest in &image.blobs {
        hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    (origin, place, image)
}

/// Everything of the image comes from the store, without a word to anybody.
async fn serves_all(place: &Place, origin: &Origin, image: &Image) {
    origin.forget();
    let hubcap = place.start(&origin.url(), &["--offline"]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(answer.status(), 200, "{}", hubcap.log());
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
    for digest in &image.blobs {
        let answer = hubcap.get(&blob("x", digest)).await;
        assert_eq!(status(&answer), "hubcap; hit", "{}", hubcap.log());
        assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), *digest);
    }
    assert_eq!(origin.log().len(), 0);
}

fn sled(place: &Place) -> std::path::PathBuf {
    place.store().join("index-sled034-v2")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_can_be_deleted() {
    let (origin, place, image) = filled().await;
    serves_all(&place, &origin, &image).await;
    fs::remove_dir_all(sled(&place)).expect("deleted");
    serves_all(&place, &origin, &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_can_be_torn_in_every_way() {
    type Tear = fn(&Path, &[u8]);
    let tears: [(&str, Tear); 4] = [
        ("emptied", |path, _| fs::write(path, b"").expect("written")),
        ("cut in half", |path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).expect("written")),
        ("overwritten", |path, bytes| fs::write(path, vec![0x5a; bytes.len()]).expect("written")),
        ("flipped", |path, bytes| {
            let mut bytes = bytes.to_vec();
            let step = (bytes.len() / 64).max(1);
            bytes.iter_mut().step_by(step).for_each(|byte| *byte ^= 0xff);
            fs::write(path, bytes).expect("written");
        }),
    ];
    for (_what, tear) in tears {
        for file in ["db", "conf", "snap"] {
            let (origin, place, image) = filled().await;
            for entry in fs::read_dir(sled(&place)).expect("a directory").flatten() {
                if entry.file_name().to_string_lossy().starts_with(file) && entry.path().is_file() {
                    tear(&entry.path(), &fs::read(entry.path()).expect("read"));
                }
            }
            serves_all(&place, &origin, &image).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_json_is_written_anew_from_the_index() {
    let (origin, place, image) = filled().await;
    fs::write(place.store().join("index.json"), b"{\"schemaVersion\":2,\"manif").expect("written");
    serves_all(&place, &origin, &image).await;
    let listed = run(place.dir.path(), &["ls", "--store", place.store().to_str().expect("text")]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("docker.io/library/x:1"));
    fs::remove_dir_all(sled(&place)).expect("deleted");
    serves_all(&place, &origin, &image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_put_aside_and_fetched_again() {
    let (origin, place, image) = filled().await;
    let path = place.store().join("blobs/sha256").join(image.digest.trim_start_matches("sha256:"));
    fs::write(&path, b"{}").expect("written");
    let hubcap = place.start(&origin.url(), &[]);
    let answer = hubcap.get(&manifest("x", "1")).await;
    assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
    assert!(hubcap.log().contains("quarantine"));
    assert_eq!(fs::read(path).expect("read"), image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_written_is_thrown_away_at_the_start() {
    let (origin, place, image) = filled().await;
    fs::write(place.store().join("ingest/abc.0"), b"half").expect("written");
    serves_all(&place, &origin, &image).await;
    assert_eq!(place.ingests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_says_who_holds_the_store() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    let store = place.store();
    let second = run(
        place.dir.path(),
        &["serve", "--listen", "127.0.0.1:0", "--store", store.to_str().expect("text")],
    );
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr);
    assert!(told.contains(&hubcap.pid().to_string()) && told.contains("--store"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_and_backup_tools_leave_the_store_alone() {
    let (_origin, place, _image) = filled().await;
    assert_eq!(fs::read_to_string(place.store().join(".gitignore")).expect("read"), "*\n");
    let tag = fs::read_to_string(place.store().join("CACHEDIR.TAG")).expect("read");
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_is_put_aside_and_fetched_again_in_the_same_request() {
    type Rot = fn(&Path, &[u8]);
    let rots: [Rot; 4] = [
        |path, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[0] ^= 1;
            fs::write(path, bytes).expect("written");
        },
        |path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).expect("written"),
        |path, _| fs::write(path, b"").expect("written"),
        |path, _| fs::remove_file(path).expect("removed"),
    ];
    for rot in rots {
        let (origin, place, image) = filled().await;
        let digest = &image.blobs[2];
        let path = place.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let right = fs::read(&path).expect("read");
        rot(&path, &right);
        // Without an origin it is refused, never served.
        let offline = place.start(&origin.url(), &["--offline"]);
        assert_eq!(offline.get(&blob("x", digest)).await.status(), 404);
        drop(offline);
        let hubcap = place.start(&origin.url(), &[]);
        assert!(hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body") == right);
        assert!(fs::read(&path).expect("read") == right);
        assert_eq!(status(&hubcap.get(&blob("x", digest)).await), "hubcap; hit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_damaged_blob_is_never_delivered_whole() {
    let (origin, place) = (Origin::start().await, Place::new());
    let content = noise(400 << 20, 3);
    let digest = origin.put_blob(&content);
    drop(content);
    let hubcap = place.start(&origin.url(), &[]);
    let read = async |hubcap: &crate::support::hubcap::Hubcap| {
        use futures_util::StreamExt as _;
        let mut stream = hubcap.get(&blob("x", &digest)).await.bytes_stream();
        let mut verifier = hubcap_oci::Verifier::new(hubcap_oci::Algorithm::Sha256);
        while let Some(chunk) = stream.next().await {
            verifier.update(&chunk.ok()?);
        }
        Some(verifier.finish().to_string())
    };
    assert_eq!(read(&hubcap).await.as_ref(), Some(&digest));
    assert_eq!(hubcap.stop(), Some(0));
    let path = place.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&file, b"rot", 399 << 20).expect("written");
    drop(file);
    let hubcap = place.start(&origin.url(), &[]);
    // Cut, unless the damage was found before it was sent; the next request gets the right bytes.
    let first = read(&hubcap).await;
    assert!(first.as_ref().is_none_or(|first| *first == digest), "{first:?}");
    assert_eq!(read(&hubcap).await.as_ref(), Some(&digest));
    assert!(hubcap.log().contains("the content is damaged"), "{}", hubcap.log());
    // The end of it for the answer that was running, all of it for the store.
    // Counted by what begins at the first byte: on a slow machine each may bring its parts over several connections.
    let whole = |asked: &&crate::support::origin::Asked| {
        asked.method == reqwest::Method::GET && asked.target.contains(&digest) && asked.range.is_none()
    };
    assert!(origin.log().iter().filter(whole).count() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_go_on_when_the_disk_is_full_and_are_stored_again_when_there_is_room() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let mounted = SmallDisk::mount(&disk, 8);
    let (small, large) = (noise(500_000, 1), noise(9 << 20, 2));
    let image = image::put(&origin, "library/x:1", &[&small, &large]);
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    let large_path = blob("x", &image.blobs[2]);
    hubcap.get(&manifest("x", "1")).await;
    assert!(hubcap.get(&blob("x", &image.blobs[1])).await.bytes().await.expect("a body") == small);
    for _ in 0..3 {
        let answer = hubcap.get(&large_path).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; detail=no-room");
        assert!(answer.bytes().await.expect("a body") == large);
    }
    // Past the store a wrong digest is not delivered whole either.
    origin.quirk(&image.blobs[2], crate::support::origin::quirk::flip());
    assert!(hubcap.get(&large_path).await.bytes().await.is_err());
    origin.heal();
    assert_eq!(status(&hubcap.get(&blob("x", &image.blobs[1])).await), "hubcap; hit");
    assert_eq!(hubcap.log().matches("what does not fit is not stored").count(), 1, "{}", hubcap.log());
    assert_eq!(place.ingests(), 0);
    mounted.grow(32);
    assert_eq!(status(&hubcap.get(&large_path).await), "hubcap; fwd=miss; stored");
    assert!(hubcap.get(&large_path).await.bytes().await.expect("a body") == large);
    drop(hubcap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_the_middle_of_a_blob_is_not_noticed_by_its_client() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let _mounted = SmallDisk::mount(&disk, 8);
    let large = noise(12 << 20, 2);
    let digest = origin.put_blob(&large);
    // Nobody tells the length, so the disk is found full only when it is.
    origin.quirk(&digest, crate::support::origin::quirk::no_length());
    for limit in ["0", "1MiB"] {
        let hubcap = place.start(&origin.url(), &["--min-free", limit]);
        assert!(hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body") == large);
        assert_eq!(hubcap.log().matches("what does not fit is not stored").count(), 1, "{}", hubcap.log());
        assert!(!place.blobs().contains(&digest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_is_no_blob_past_a_store_that_cannot_be_written_either() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let mounted = SmallDisk::mount(&disk, 8);
    assert_eq!(place.start(&origin.url(), &["--min-free", "0"]).stop(), Some(0));
    mounted.read_only();
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    let digest = origin.put_blob(&noise(300_000, 1));
    origin.quirk(&digest, quirk::empty());
    assert_eq!(hubcap.get(&blob("x", &digest)).await.status(), 404);
    origin.heal();
    let answer = hubcap.get(&blob("x", &digest)).await;
    assert_eq!(answer.bytes().await.expect("a body").len(), 300_000, "{}", hubcap.log());
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_pipes_in_a_store_lead_nowhere_and_stop_nothing() {
    let (origin, place) = (Origin::start().await, Place::new());
    let layer = noise(300_000, 1);
    let image = image::put(&origin, "library/x:1", &[&layer]);
    let paths = [manifest("x", "1"), blob("x", &image.blobs[0]), blob("x", &image.blobs[1])];
    let hubcap = place.start(&origin.url(), &[]);
    for path in &paths {
        hubcap.get(path).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let (outside, store) = (place.dir.path().join("outside"), place.store());
    fs::create_dir(&outside).expect("a directory");
    let victim = outside.join("victim");
    fs::write(&victim, "mine").expect("written");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o755)).expect("changed");
    let stored = format!("blobs/{}", image.blobs[1].replace(':', "/"));
    let directories = ["blobs", "blobs/sha256", "blobs/sha512", "ingest", "quarantine", "index-sled034-v2"];
    let files =
        [&stored, "index.json", "index.seal", "speed.json", "lock", "oci-layout", "index-sled034-v2/db"];
    for name in directories.into_iter().chain(files).chain(["index-sled034-v2/x", "index-sled034-v2.bad"]) {
        for kind in ["a link", "a link to a directory", "a pipe"] {
            let what = format!("{kind} as {name}");
            let odd = store.join(name);
            match odd.symlink_metadata() {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&odd).expect("removed"),
                Ok(_) => fs::remove_file(&odd).expect("removed"),
                Err(_) => fs::create_dir_all(odd.parent().expect("a parent")).expect("made"),
            }
            match kind {
                "a link" => symlink(&victim, &odd).expect("linked"),
                "a link to a directory" => symlink(&outside, &odd).expect("linked"),
                _ => mknodat(CWD, &odd, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe"),
            }
            let hubcap = place.start(&origin.url(), &[]);
            for path in &paths {
                let answer = hubcap.get(path).await;
                assert_eq!(answer.status(), 200, "{what}: {}", hubcap.log());
                let body = answer.bytes().await.expect("a body");
                assert!(path != &paths[2] || body == layer, "{what}");
            }
            assert_eq!(hubcap.stop(), Some(0), "{what}");
            for command in [&["gc"][..], &["gc", "--private"], &["verify"], &["ls"], &["down"]] {
                let store = store.to_str().expect("text");
                let output = run(place.dir.path(), &[command, &["--store", store]].concat());
                assert_eq!(output.status.code(), Some(0), "{what}: {command:?}: {output:?}");
            }
            let left = fs::metadata(&victim).expect("the victim");
            assert_eq!(left.permissions().mode() & 0o777, 0o755, "{what}");
            assert_eq!(fs::read_to_string(&victim).expect("read"), "mine", "{what}");
            assert_eq!(fs::read_dir(&outside).expect("read").count(), 1, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_a_store_that_cannot_be_written_comes_past_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let mounted = SmallDisk::mount(&disk, 8);
    let layer = noise(300_000, 1);
    let image = image::put(&origin, "library/x:1", &[&layer]);
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    for path in [manifest("x", "1"), blob("x", &image.blobs[1])] {
        hubcap.get(&path).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    let file = disk.join("blobs").join(image.blobs[1].replace(':', "/"));
    let mut wrong = layer.clone();
    wrong[1000..1005].copy_from_slice(b"wrong");
    fs::write(file, wrong).expect("written");
    mounted.read_only();
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    let path = blob("x", &image.blobs[1]);
    for _ in 0..2 {
        let range = hubcap.ask(Method::GET, &path, &[("range", "bytes=1000-1004")]).await;
        // What goes past the store is whole.
        let body = range.bytes().await.expect("a body");
        assert!(body == layer[1000..1005] || body == layer, "{} wrong bytes", body.len());
        let whole = hubcap.get(&path).await.bytes().await.expect("a whole body");
        assert!(whole == layer, "{}", hubcap.log());
    }
    assert_eq!(hubcap.log().matches("the content is damaged").count(), 1, "{}", hubcap.log());
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_serves_what_it_has_and_the_rest_goes_past_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let mounted = SmallDisk::mount(&disk, 8);
    let layers = [noise(300_000, 1), noise(300_000, 2)];
    let here = image::put(&origin, "library/here:1", &[&layers[0]]);
    let new = image::put(&origin, "library/new:1", &[&layers[1]]);
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    for path in [manifest("here", "1"), blob("here", &here.blobs[0]), blob("here", &here.blobs[1])] {
        hubcap.get(&path).await.bytes().await.expect("a body");
    }
    assert_eq!(hubcap.stop(), Some(0));
    mounted.read_only();
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    for _ in 0..2 {
        let answer = hubcap.get(&blob("here", &here.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; hit");
        assert!(answer.bytes().await.expect("a body") == layers[0]);
        assert_eq!(hubcap.get(&manifest("here", "1")).await.status(), 200);
        assert_eq!(hubcap.get(&manifest("new", "1")).await.status(), 200);
        let answer = hubcap.get(&blob("new", &new.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; fwd=miss; detail=no-room");
        assert!(answer.bytes().await.expect("a body") == layers[1]);
    }
    let warnings = hubcap.log().lines().filter(|line| line.contains("WARN")).count();
    assert!(warnings <= 2, "{}", hubcap.log());
    assert_eq!(hubcap.log().matches("the store cannot be written").count(), warnings, "{}", hubcap.log());
    assert_eq!(hubcap.stop(), Some(0));
    // A command whose work is to write says so instead.
    let store = place.store();
    let gc = run(place.dir.path(), &["gc", "--store", store.to_str().expect("text")]);
    assert_eq!(gc.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&gc.stderr).contains("Read-only"),
        "{}",
        String::from_utf8_lossy(&gc.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_login_comes_past_a_store_that_cannot_be_written_at_the_first_try() {
    let (origin, place) = (Origin::start().await, Place::new());
    origin.make_private("org/private", "me:hunter2", "Bearer client-s3cret");
    let layer = noise(300_000, 1);
    let image = image::put(&origin, "org/private:1", &[&layer]);
    fs::create_dir(place.store()).expect("a directory");
    let disk = place.store();
    let mounted = SmallDisk::mount(&disk, 8);
    mounted.read_only();
    let hubcap = place.start(&origin.url(), &[]);
    let ask =
        async |path: &str, who: &str| hubcap.ask(reqwest::Method::GET, path, &[("authorization", who)]).await;
    let paths = [manifest("org/private", "1"), blob("org/private", &image.blobs[1])];
    for path in &paths {
        let answer = ask(path, "Bearer client-s3cret").await;
        assert_eq!(answer.status(), 200, "{path}: {}", hubcap.log());
        answer.bytes().await.expect("a body");
        // And nobody else gets it for that.
        assert_eq!(ask(path, "Bearer another").await.status(), 403, "{path}");
        assert_eq!(hubcap.get(path).await.status(), 403, "{path}");
    }
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_go_on_after_the_disk_was_full_for_a_moment() {
    let (origin, place) = (Origin::start().await, Place::new());
    fs::create_dir(place.store()).expect("made");
    let store = place.store();
    let _disk = SmallDisk::mount(&store, 12);
    let images: Vec<Image> =
        (0..8).map(|n| image::put(&origin, &format!("library/x:{n}"), &[&noise(50_000, 10 + n)])).collect();
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    let pull = async |image: &Image, tag: usize| {
        hubcap.get(&manifest("x", &tag.to_string())).await.bytes().await.expect("a body");
        for digest in &image.blobs {
            hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body");
        }
    };
    for (tag, image) in images.iter().enumerate().take(4) {
        pull(image, tag).await;
    }
    // Another process takes all that is free.
    let ballast = store.join("ballast");
    let mut file = fs::File::create(&ballast).expect("made");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let fails = || hubcap.log().contains("kept in memory");
    let mut asked = 0;
    let end = std::time::Instant::now() + crate::support::PATIENCE;
    while !fails() {
        assert!(std::time::Instant::now() < end, "sled writes nothing: {}", hubcap.log());
        // What another repository has as well is noted in the index.
        let path = blob(&format!("library/y{asked}"), &images[0].blobs[1]);
        hubcap.get(&path).await.bytes().await.expect("a body");
        asked += 1;
    }
    for image in images.iter().take(4) {
        let answer = hubcap.get(&blob("x", &image.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; hit", "while it is full: {}", hubcap.log());
    }
    fs::remove_file(ballast).expect("removed");
    crate::support::eventually("the index on the disk again", || {
        hubcap.log().contains("the disk takes the index again")
    })
    .await;
    for (tag, image) in images.iter().enumerate() {
        pull(image, tag).await;
    }
    for image in &images {
        let answer = hubcap.get(&blob("x", &image.blobs[1])).await;
        assert_eq!(status(&answer), "hubcap; hit", "{}", hubcap.log());
    }
    assert_eq!(hubcap.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_fails_no_request() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(300_000, 1)]);
    let serve = place.serve(&origin.url(), &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]).arg(serve.get_program()).args(serve.get_args());
    command.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let hubcap = Hubcap::spawn(command);
    for expected in ["hubcap; fwd=miss; stored", "hubcap; hit"] {
        for path in [manifest("x", "1"), blob("x", &image.blobs[0]), blob("x", &image.blobs[1])] {
            let answer = hubcap.get(&path).await;
            assert!(status(&answer).starts_with(expected), "{path}: {}", status(&answer));
            answer.bytes().await.expect("a whole body");
        }
    }
    assert_eq!(hubcap.get(&manifest("x", "none")).await.status(), 404);
    assert_eq!(hubcap.stop(), Some(0));
}
