//! A power cut: the disk of a service has what was stored before the last write to it, and nothing half.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::hubcap::{Place, blob, manifest};
use crate::support::image::{self, sha256};
use crate::support::noise;
use crate::support::origin::Origin;
use crate::support::programs::{program, succeed};

/// An ext4 of its own in a file, mounted until this is dropped.
struct Disk {
    mounted: PathBuf,
}

impl Disk {
    fn make(image: &Path, at: &Path) -> Self {
        fs::File::create(image).expect("made").set_len(64 << 20).expect("set");
        succeed(program("mkfs.ext4").args(["-q", "-F"]).arg(image));
        Self::mount(image, at)
    }

    fn mount(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).expect("a directory");
        succeed(program("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self { mounted: at.to_owned() }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = program("umount").arg("--lazy").arg(&self.mounted).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_what_it_stored_after_a_power_cut() {
    let (origin, place) = (Origin::start().await, Place::new());
    let (device, copy) = (place.dir.path().join("disk.img"), place.dir.path().join("copy.img"));
    let _disk = Disk::make(&device, &place.store());
    let image = image::put(&origin, "library/x:1", &[&noise(3 << 20, 1)]);
    let hubcap = place.start(&origin.url(), &["--min-free", "0"]);
    hubcap.get(&manifest("x", "1")).await.bytes().await.expect("a body");
    for digest in &image.blobs {
        hubcap.get(&blob("x", digest)).await.bytes().await.expect("a body");
    }
    let digests: Vec<&String> = image.blobs.iter().chain([&image.digest]).collect();
    // The kernel itself writes after half a minute.
    let end = Instant::now() + Duration::from_secs(22);
    loop {
        // What a power cut leaves now, with the journal that a mount replays.
        fs::copy(&device, &copy).expect("copied");
        let after = place.dir.path().join("after");
        let found = {
            let _after = Disk::mount(&copy, &after);
            let content = |digest: &str| {
                let path = after.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
                fs::read(path).is_ok_and(|bytes| sha256(&bytes) == digest)
            };
            let names = fs::read_to_string(after.join("index.json")).unwrap_or_default();
            digests.iter().all(|digest| content(digest)) && names.contains("library/x:1")
        };
        if found {
            break;
        }
        assert!(Instant::now() < end, "not on the disk: {}", hubcap.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
