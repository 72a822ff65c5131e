//! Damage to any file of the store: served right or refused, and healed when the origin is there.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;

use crate::support::hubcap::{Hubcap, Place, blob, manifest, run};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::Origin;

type Damage = fn(&Path);

const DAMAGES: [(&str, Damage); 5] = [
    ("flipped", |path| {
        let mut bytes = fs::read(path).expect("read");
        if let Some(byte) = bytes.len().checked_div(2).and_then(|middle| bytes.get_mut(middle)) {
            *byte ^= 0x20;
        }
        fs::write(path, bytes).expect("written");
    }),
    ("cut", |path| {
        let bytes = fs::read(path).expect("read");
        fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
    }),
    ("emptied", |path| fs::write(path, b"").expect("written")),
    ("removed", |path| fs::remove_file(path).expect("removed")),
    ("overwritten", |path| fs::write(path, noise(5000, 77)).expect("written")),
];

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("made");
        fs::copy(&file, copy).expect("copied");
    }
}

/// How many of the image's contents came; each that comes is right.
async fn pull(hubcap: &Hubcap, image: &Image, what: &str) -> usize {
    let mut right = 0;
    let manifests = [manifest("x", "1"), manifest("x", &image.digest)].map(|path| (path, &image.digest));
    let blobs = image.blobs.iter().map(|digest| (blob("x", digest), digest));
    for (path, digest) in manifests.into_iter().chain(blobs) {
        let answer = hubcap.get(&path).await;
        match answer.status().as_u16() {
            200 => {
                if let Ok(body) = answer.bytes().await {
                    assert_eq!(image::sha256(&body), *digest, "{what}: wrong bytes for {path}");
                    right += 1;
                }
            }
            404 => {}
            other => panic!("{what}: {path} is answered with {other}"),
        }
    }
    right
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_any_file_is_refused_without_the_origin_and_healed_with_it() {
    let (origin, whole) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(300_000, 1), &noise(5000, 2)]);
    let hubcap = whole.start(&origin.url(), &[]);
    let all = pull(&hubcap, &image, "before").await;
    assert_eq!(all, 2 + image.blobs.len());
    assert_eq!(hubcap.stop(), Some(0));
    let mut count = 0;
    for file in files(&whole.store()) {
        let name = file.strip_prefix(whole.store()).expect("below").to_owned();
        for (how, damage) in DAMAGES {
            let what = format!("{} {how}", name.display());
            let place = Place::new();
            copy(&whole.store(), &place.store());
            damage(&place.store().join(&name));
            let offline = place.start(&origin.url(), &["--offline"]);
            pull(&offline, &image, &what).await;
            assert_eq!(offline.stop(), Some(0), "{what}");
            let hubcap = place.start(&origin.url(), &[]);
            assert_eq!(pull(&hubcap, &image, &what).await, all, "{what}: not healed");
            assert_eq!(hubcap.stop(), Some(0), "{what}");
            let offline = place.start(&origin.url(), &["--offline"]);
            assert_eq!(pull(&offline, &image, &what).await, all, "{what}: healed, and not kept");
            assert_eq!(offline.stop(), Some(0), "{what}");
            count += 1;
        }
    }
    println!("{count} damages: all healed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_while_hubcap_runs_is_fetched_again() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(300_000, 1), &noise(5000, 2)]);
    let hubcap = place.start(&origin.url(), &[]);
    let all = pull(&hubcap, &image, "before").await;
    for (how, damage) in DAMAGES {
        for digest in &image.blobs {
            damage(&place.store().join("blobs").join(digest.replace(':', "/")));
            let range = hubcap.ask(Method::GET, &blob("x", digest), &[("range", "bytes=0-3")]).await;
            let right = origin.blob(digest).expect("there").slice(0..4);
            assert_eq!(range.bytes().await.expect("a body"), right, "{digest} {how}: a range");
        }
        assert_eq!(pull(&hubcap, &image, how).await, all, "{how}: not healed");
        // The same without a range before it.
        for digest in &image.blobs {
            damage(&place.store().join("blobs").join(digest.replace(':', "/")));
        }
        assert_eq!(pull(&hubcap, &image, how).await, all, "{how}: not healed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_is_wrong_and_repair_mends_it() {
    let (origin, place) = (Origin::start().await, Place::new());
    let image = image::put(&origin, "library/x:1", &[&noise(300_000, 1), &noise(5000, 2)]);
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, &image, "before").await;
    let (store, upstream) = (place.store(), format!("docker.io={}", origin.url()));
    let verify = |more: &[&str]| {
        let mut all = vec!["verify", "--upstream", &upstream, "--store", store.to_str().expect("text")];
        all.extend(more);
        let output = run(place.dir.path(), &all);
        let told =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    };
    // Beside a running daemon it may look, and not repair.
    let (code, told) = verify(&[]);
    assert!(code == Some(0) && told.contains("all right"), "{told}");
    let (code, told) = verify(&["--repair"]);
    assert!(code == Some(1) && told.contains("in use by process"), "{told}");
    assert_eq!(hubcap.stop(), Some(0));
    let path = |digest: &str| store.join("blobs").join(digest.replace(':', "/"));
    fs::write(path(&image.blobs[1]), b"rotten").expect("written");
    fs::remove_file(path(&image.digest)).expect("removed");
    fs::write(store.join("blobs/sha256/notes.txt"), b"mine").expect("written");
    fs::create_dir(store.join("blobs/sha256/directory")).expect("made");
    fs::write(store.join("blobs/sha256/directory/file"), b"mine").expect("written");
    fs::write(store.join("oci-layout"), b"").expect("written");
    let (code, told) = verify(&[]);
    assert_eq!(code, Some(1));
    for expected in [
        &format!("{} is damaged", image.blobs[1]),
        "docker.io/library/x:1 is missing",
        "notes.txt",
        "oci-layout",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(told.contains("5 things are wrong"), "{told}");
    let (code, told) = verify(&["--repair"]);
    assert_eq!(code, Some(1));
    for digest in [&image.blobs[1], &image.digest] {
        assert!(told.contains(&format!("{digest} is fetched again")), "{told}");
    }
    let (code, told) = verify(&[]);
    assert!(code == Some(0) && told.contains("all right"), "{told}");
    let missing = run(place.dir.path(), &["verify", "--store", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_damaged_blob_is_right() {
    let (origin, place) = (Origin::start().await, Place::new());
    // Longer than is verified before a whole blob is begun.
    let content = noise(192 << 20, 77);
    let digest = origin.put_blob(&content);
    let hubcap = place.start(&origin.url(), &[]);
    hubcap.get(&blob("x", &digest)).await.bytes().await.expect("a body");
    crate::support::eventually("the blob in the store", || place.blobs() == [digest.clone()]).await;
    assert_eq!(hubcap.stop(), Some(0));
    let path = place.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let at = 1000;
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&file, &[content[at] ^ 1], at as u64).expect("written");
    let hubcap = place.start(&origin.url(), &[]);
    let range = format!("bytes={}-{}", at - 10, at + 10);
    let answer = hubcap.ask(reqwest::Method::GET, &blob("x", &digest), &[("range", &range)]).await;
    assert!(answer.bytes().await.expect("a body") == content[at - 10..=at + 10], "{}", hubcap.log());
}
