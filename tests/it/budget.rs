//! What the store may hold: the least recently used goes first, and what cannot fit goes past it.

use std::process::Output;

use hubcap_oci::media_type;
use serde_json::json;

use crate::support::disk::SmallDisk;
use crate::support::hubcap::{Hubcap, Place, blob, manifest, run, status};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::{Origin, quirk};
use crate::support::programs::{program, succeed};

const MIB: usize = 1 << 20;

async fn pull(hubcap: &Hubcap, name: &str, image: &Image) {
    assert_eq!(hubcap.get(&manifest(name, "1")).await.status(), 200);
    for digest in &image.blobs {
        assert_eq!(
            hubcap
                .get(&blob(name, digest))
                .await
                .bytes()
                .await
                .map(|body| image::sha256(&body))
                .ok()
                .as_ref(),
            Some(digest)
        );
    }
}

fn gc(place: &Place, arguments: &[&str]) -> Output {
    let store = place.store();
    let mut all = vec!["gc", "--store", store.to_str().expect("text")];
    all.extend(arguments);
    run(place.dir.path(), &all)
}

fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Three images on one base: 2 MiB shared, and 2 MiB of their own each.
fn three(origin: &Origin) -> [Image; 3] {
    let base = noise(2 * MIB, 1);
    let image =
        |name: &str, seed| image::put(origin, &format!("library/{name}:1"), &[&base, &noise(2 * MIB, seed)]);
    [image("a", 2), image("b", 3), image("c", 4)]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_recently_used_image_goes_first_and_what_others_share_with_it_stays() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, c] = three(&origin);
    let hubcap = place.start(&origin.url(), &["--max-size", "7MiB"]);
    pull(&hubcap, "a", &a).await;
    pull(&hubcap, "b", &b).await;
    // Used again, so it is b's turn to go.
    assert!(status(&hubcap.get(&manifest("a", "1")).await).starts_with("hubcap; hit"));
    pull(&hubcap, "c", &c).await;
    let here = place.blobs();
    for digest in a.blobs.iter().chain(&c.blobs).chain([&a.digest, &c.digest]) {
        assert!(here.contains(digest), "{digest} is gone");
    }
    assert!(!here.contains(&b.blobs[2]) && !here.contains(&b.digest), "b is still here");
    assert!(hubcap.log().contains("removed docker.io/library/b:1: least recently used"), "{}", hubcap.log());
    // What is gone comes again.
    pull(&hubcap, "b", &b).await;
    assert_eq!(hubcap.stop(), Some(0));
    let total: u64 = walk(&place);
    assert!(total <= 7 * MIB as u64, "{total}");
}

fn walk(place: &Place) -> u64 {
    let size = |digest: &String| {
        let (algorithm, hex) = digest.split_once(':').expect("a digest");
        std::fs::metadata(place.store().join("blobs").join(algorithm).join(hex)).expect("a file").len()
    };
    place.blobs().iter().map(size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_cannot_fit_is_streamed_through_and_nothing_goes_for_it_in_vain() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, ..] = three(&origin);
    let large = image::put(&origin, "library/large:1", &[&noise(6 * MIB, 9)]);
    let hubcap = place.start(&origin.url(), &["--max-size", "5MiB"]);
    pull(&hubcap, "a", &a).await;
    pull(&hubcap, "large", &large).await;
    assert_eq!(
        status(&hubcap.get(&blob("large", &large.blobs[1])).await),
        "hubcap; fwd=miss; detail=no-room"
    );
    assert!(!place.blobs().contains(&large.blobs[1]));
    assert_eq!(status(&hubcap.get(&blob("a", &a.blobs[2])).await), "hubcap; hit");
    assert_eq!(hubcap.log().matches("what does not fit is not stored").count(), 1, "{}", hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_for_a_length_that_only_a_manifest_tells() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, _] = three(&origin);
    let layer = origin.put_blob(b"tiny");
    let manifest_of = |size: usize| {
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": layer, "size": size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size}]})
    };
    let lie = manifest_of(7 * MIB - 1000).to_string();
    origin.put_manifest("library/lie:1", media_type::OCI_MANIFEST, lie.as_bytes());
    let hubcap = place.start(&origin.url(), &["--max-size", "7MiB"]);
    for (name, image) in [("a", &a), ("b", &b)] {
        pull(&hubcap, name, image).await;
    }
    assert_eq!(hubcap.get(&manifest("lie", "1")).await.status(), 200);
    for _ in 0..2 {
        assert_eq!(hubcap.get(&blob("lie", &layer)).await.bytes().await.expect("the blob"), "tiny");
    }
    // The same where the registry tells no length.
    let untold = origin.put_blob(b"tiny too");
    let lie = manifest_of(7 * MIB - 1000).to_string().replace(&layer, &untold);
    origin.put_manifest("library/untold:1", media_type::OCI_MANIFEST, lie.as_bytes());
    origin.quirk(&untold, quirk::no_length());
    assert_eq!(hubcap.get(&manifest("untold", "1")).await.status(), 200);
    assert_eq!(hubcap.get(&blob("untold", &untold)).await.bytes().await.expect("the blob"), "tiny too");
    for (name, image) in [("a", &a), ("b", &b)] {
        for digest in &image.blobs {
            assert_eq!(status(&hubcap.get(&blob(name, digest)).await), "hubcap; hit", "{}", hubcap.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_images_stay_whatever_comes() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, c] = three(&origin);
    let hubcap = place.start(&origin.url(), &["--max-size", "7MiB", "--pin", "docker.io/library/a"]);
    pull(&hubcap, "a", &a).await;
    for _ in 0..2 {
        pull(&hubcap, "b", &b).await;
        pull(&hubcap, "c", &c).await;
    }
    assert!(a.blobs.iter().all(|digest| place.blobs().contains(digest)), "a is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_is_remembered_over_a_restart_and_over_archive_and_restore() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, c] = three(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    for (name, image) in [("a", &a), ("b", &b)] {
        pull(&hubcap, name, image).await;
    }
    assert_eq!(hubcap.get(&manifest("a", "1")).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    let elsewhere = Place::new();
    std::fs::create_dir(elsewhere.store()).expect("a directory");
    let archive = place.dir.path().join("store.tar");
    succeed(program("tar").arg("-cf").arg(&archive).arg("-C").arg(place.store()).arg("."));
    succeed(program("tar").arg("-xf").arg(&archive).arg("-C").arg(elsewhere.store()));
    for place in [place, elsewhere] {
        let hubcap = place.start(&origin.url(), &["--max-size", "7MiB"]);
        pull(&hubcap, "c", &c).await;
        assert!(hubcap.log().contains("removed docker.io/library/b:1"), "{}", hubcap.log());
        assert!(place.blobs().contains(&a.blobs[2]), "a is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_says_what_would_go_and_why_and_then_removes_that() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, _] = three(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, "a", &a).await;
    pull(&hubcap, "b", &b).await;
    // Stored, and part of no image that is here.
    let alone = origin.put_blob(&noise(MIB, 7));
    assert_eq!(hubcap.get(&blob("a", &alone)).await.bytes().await.expect("a body").len(), MIB);
    let held = gc(&place, &["--dry-run"]);
    assert_eq!(held.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&held.stderr).contains(&hubcap.pid().to_string()));
    assert_eq!(hubcap.stop(), Some(0));
    let before = place.blobs();
    let plan = told(&gc(&place, &["--dry-run", "--max-size", "5MiB"]));
    assert!(plan.contains(&format!("{alone}  ")) && plan.contains("no image here needs it"), "{plan}");
    assert!(plan.contains("docker.io/library/a:1") && plan.contains("least recently used"), "{plan}");
    assert!(!plan.contains("docker.io/library/b:1"), "{plan}");
    assert_eq!(place.blobs(), before);
    let done = told(&gc(&place, &["--max-size", "5MiB"]));
    assert_eq!(
        plan.lines().filter(|line| line.contains("docker.io") || line.contains("sha256")).collect::<Vec<_>>(),
        done.lines().filter(|line| line.contains("docker.io") || line.contains("sha256")).collect::<Vec<_>>()
    );
    assert!(!place.blobs().contains(&a.blobs[2]) && place.blobs().contains(&b.blobs[1]));
    assert!(told(&gc(&place, &[])).starts_with("0 B freed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_over_its_limit_is_brought_below_it_by_the_next_pull() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, c] = three(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, "a", &a).await;
    pull(&hubcap, "b", &b).await;
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &["--max-size", "5MiB"]);
    pull(&hubcap, "c", &c).await;
    assert_eq!(hubcap.stop(), Some(0));
    assert!(walk(&place) <= 5 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_disk_and_what_has_to_be_left_of_it_are_limits_as_well() {
    // 20 MiB have room for all three images, 35% of them and all but 12 for two.
    for limit in [["--max-size", "35%", "--min-free", "0"], ["--max-size", "100%", "--min-free", "12MiB"]] {
        let (origin, place) = (Origin::start().await, Place::new());
        let [a, b, c] = three(&origin);
        std::fs::create_dir(place.store()).expect("a directory");
        let disk = place.store();
        let _mounted = SmallDisk::mount(&disk, 20);
        let hubcap = place.start(&origin.url(), &limit);
        for (name, image) in [("a", &a), ("b", &b), ("c", &c)] {
            pull(&hubcap, name, image).await;
        }
        let here = place.blobs();
        assert!(!here.contains(&a.blobs[2]), "{limit:?}: {}", hubcap.log());
        assert!(c.blobs.iter().all(|digest| here.contains(digest)), "{limit:?}: {}", hubcap.log());
        assert_eq!(hubcap.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_when_many_want_room_at_once() {
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &["--max-size", "8MiB"]);
    for round in 0..4_u64 {
        let contents: Vec<Vec<u8>> = (0..24_u64).map(|n| noise(MIB - 1000, 100 * (round + 1) + n)).collect();
        let fetch = async |content: &Vec<u8>| {
            let digest = origin.put_blob(content);
            hubcap.get(&blob("x", &digest)).await.bytes().await.is_ok_and(|body| body == *content)
        };
        let right = futures_util::future::join_all(contents.iter().map(fetch)).await;
        assert!(right.iter().all(|right| *right), "what does not fit is served all the same");
        let total = walk(&place);
        assert!(total <= 8 * MIB as u64, "{total}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_over_its_limit_is_brought_below_it_at_the_start() {
    let (origin, place) = (Origin::start().await, Place::new());
    let [a, b, _] = three(&origin);
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap, "a", &a).await;
    pull(&hubcap, "b", &b).await;
    assert_eq!(hubcap.stop(), Some(0));
    let _hubcap = place.start(&origin.url(), &["--max-size", "5MiB"]);
    crate::support::eventually("room", || walk(&place) <= 5 * MIB as u64).await;
    assert!(b.blobs.iter().all(|digest| place.blobs().contains(digest)), "the newer one stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_for_the_index_too_however_much_manifests_name() {
    const LIMIT: u64 = 6 << 20;
    let (origin, place) = (Origin::start().await, Place::new());
    let hubcap = place.start(&origin.url(), &["--max-size", "6MiB"]);
    // Long: each link repeats it.
    let name = format!("a/{}", "b".repeat(100));
    let layer = |n: usize| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1, "digest": format!("sha256:{n:064x}")});
    for round in 0..60 {
        let layers: Vec<_> = (0..300).map(|n| layer(1000 * round + n)).collect();
        let text = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": layer(1), "layers": layers});
        let tag = round.to_string();
        origin.put_manifest(&format!("{name}:{tag}"), media_type::OCI_MANIFEST, text.to_string().as_bytes());
        assert_eq!(hubcap.get(&manifest(&name, &tag)).await.status(), 200);
        let size = place.bytes();
        assert!(size < LIMIT + LIMIT / 4, "{size} bytes after {round} manifests: {}", hubcap.log());
    }
    assert!(place.blobs().len() >= 3, "{} manifests are kept: {}", place.blobs().len(), hubcap.log());
    assert_eq!(hubcap.stop(), Some(0));
    let size = place.bytes();
    assert!(size < LIMIT + LIMIT / 4, "{size} bytes");
}
