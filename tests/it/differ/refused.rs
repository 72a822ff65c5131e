//! What hubcap leaves to containerd, and what it fails.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use hubcap_unpack::{Error, Layer, Packing, Target, Whiteouts};

use super::Differ;
use super::containerd::{Blob, Containerd, Packed, Version, image, image_of, spawn};
use super::entry::{archive, directory, file};
use crate::support::PATIENCE;
use crate::support::image::sha256;
use crate::support::{noise, packed};

fn apply(blob: &[u8], directory: &std::path::Path, canceled: bool) -> Result<(), Error> {
    let at = directory.with_extension("blob");
    std::fs::write(&at, blob).expect("written");
    let layer = Layer { blob: std::fs::File::open(at).expect("there"), packing: Packing::Packed };
    let target =
        Target { directory: directory.into(), whiteouts: Whiteouts::Remove, devices: true, sync: true };
    hubcap_unpack::apply(layer, &target, &AtomicBool::new(canceled)).map(drop)
}

#[test]
fn a_layer_that_hubcap_refuses_is_unpacked_by_containerd() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start_by(dir.path(), |mut hubcap, log| {
        // It finds no blob there.
        hubcap.args(["--containerd-root", "/nonexistent"]);
        spawn(hubcap, log)
    });
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    let layers = [(archive(&[directory("dir"), file("dir/file", "text")]), Packed::Gzip)];
    containerd.import(&image(dir.path(), "refused", &layers)).expect("containerd takes it");
    assert!(differ.log().contains("left to containerd"), "{}", differ.log());
    assert_eq!(differ.applied(), 0);
    assert!(containerd.snapshot(containerd.snapshots()[0]).contains_key(std::path::Path::new("dir/file")));
}

#[test]
fn what_cannot_be_inflated_from_the_start_is_left_to_containerd_untouched() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = packed("gzip", &archive(&[file("file", noise(100_000, 1))]));
    // A frame that needs a window of 256 MiB (RFC 8878, section 3.1.1.1.2), with an empty last block.
    let large_window = [0x28, 0xb5, 0x2f, 0xfd, 0, (28 - 10) << 3, 1, 0, 0];
    for blob in [&whole[..200], &large_window] {
        let error = apply(blob, dir.path(), false).expect_err("refused");
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn a_layer_that_is_damaged_later_fails_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let entries: Vec<_> = (0..40).map(|at| file(&format!("file{at}"), noise(200_000, at))).collect();
    let blob = packed("gzip", &archive(&entries));
    let error = apply(&blob[..blob.len() / 2], dir.path(), false).expect_err("damaged");
    assert!(error.to_string().contains("pull the image again"), "{error}");
    let cut = &archive(&entries)[..5_000_000];
    let error = apply(cut, dir.path(), false).expect_err("cut");
    assert!(error.to_string().contains("it ends in a file's data"), "{error}");
    let error = apply(&[b'x'; 4096], dir.path(), false).expect_err("no archive");
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn a_layer_that_fails_leaves_no_snapshot() {
    let dir = tempfile::tempdir().expect("a directory");
    let differ = Differ::start(dir.path());
    let Some(containerd) = Containerd::start(&dir.path().join("c"), Version::Sid, Some(&differ)) else {
        return;
    };
    let entries: Vec<_> = (0..20).map(|at| file(&format!("file{at}"), noise(100_000, at))).collect();
    let whole = Blob::new(&archive(&entries), Packed::Gzip);
    // Its end is damaged, when all files are written.
    let mut bytes = whole.bytes.clone();
    *bytes.iter_mut().nth_back(4).expect("a byte") ^= 1;
    let damaged = Blob { bytes, media_type: whole.media_type.clone(), diff: whole.diff.clone() };
    // All is right, but for what the image says of it.
    let other =
        Blob { bytes: whole.bytes.clone(), media_type: whole.media_type.clone(), diff: sha256(b"other") };
    for (name, blob, why) in [("damaged", damaged, "checksum"), ("other", other, "wrong diff id")] {
        let error = containerd.import(&image_of(dir.path(), name, &[blob])).expect_err("refused");
        assert!(error.contains(why), "{error}");
        let end = Instant::now() + PATIENCE;
        let listed = || String::from_utf8_lossy(&containerd.ctr(&["snapshots", "ls"]).stdout).into_owned();
        while !containerd.snapshots().is_empty() || listed().lines().count() > 1 {
            assert!(Instant::now() < end, "{name}: {}", listed());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    containerd.import(&image_of(dir.path(), "whole", &[whole])).expect("the next one is unpacked");
}

#[test]
fn a_request_that_its_caller_gave_up_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let entries: Vec<_> = (0..40).map(|at| file(&format!("file{at}"), noise(200_000, at))).collect();
    let error = apply(&archive(&entries), dir.path(), true).expect_err("canceled");
    assert!(matches!(error, Error::Canceled), "{error}");
    assert!(!dir.path().join("file39").exists());
}
