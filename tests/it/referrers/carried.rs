//! Lists and attestations wherever a store goes: through a lost index, a cache of jobs, an eviction, an archive.

use std::fs;

use super::attestations::{at, run_at, succeeds};
use super::dockerd29::{Attested, pull};
use super::{Kept, list, origin, path};
use crate::support::hubcap::{Place, manifest};
use crate::support::origin::Origin;

/// A store that `hubcap pull` has filled, and its origin, which is gone.
async fn pulled() -> (Origin, Place, Attested) {
    let (mut origin, place) = (Origin::start().await, Place::new());
    let image = Attested::put(&origin);
    succeeds(&at(&place, &origin, &["pull", "app:1", "--platform", "linux/amd64"]));
    origin.die().await;
    (origin, place, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_outlive_the_index_and_index_json() {
    for lost in ["index-sled034-v2", "index.json"] {
        let (origin, place, image) = pulled().await;
        let path_of = place.store().join(lost);
        if path_of.is_dir() {
            fs::remove_dir_all(path_of).expect("removed");
        } else {
            fs::write(path_of, "damaged").expect("written");
        }
        let hubcap = place.start(&origin.url(), &[]);
        pull(&hubcap).await.expect(lost);
        let (found, _) = list(&hubcap, &path("app", &image.attestation.digest)).await;
        assert_eq!(found.as_array().map(Vec::len), Some(2), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_and_gc_keep_a_list_with_the_image_that_has_its_subject() {
    let (origin, place, image) = pulled().await;
    // A client that has it all asks for no more than the tag.
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("app", "1")).await.status(), 200);
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&at(&place, &origin, &["trim", "--used-in-this-run"]));
    succeeds(&run_at(&place, "gc", &[]));
    succeeds(&run_at(&place, "verify", &[]));
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap).await.expect("all of it");
    // One that takes no attestation keeps it for those that do.
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &[]);
    for reference in ["1", &image.amd.digest] {
        assert_eq!(hubcap.get(&manifest("app", reference)).await.status(), 200);
    }
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&at(&place, &origin, &["trim", "--used-in-this-run"]));
    let hubcap = place.start(&origin.url(), &[]);
    pull(&hubcap).await.expect("all of it");
    // Without the image its lists go, too.
    assert_eq!(hubcap.stop(), Some(0));
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.stop(), Some(0));
    succeeds(&at(&place, &origin, &["trim", "--used-in-this-run"]));
    assert_eq!(place.blobs(), Vec::<String>::new());
    let left = fs::read_to_string(place.store().join("index.json")).expect("an index");
    assert!(!left.contains("referrers"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_removes_the_list_of_what_no_image_has() {
    let ((origin, image, found), place) = (origin(Kept::ByEndpoint).await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(list(&hubcap, &path("app", &image.digest)).await.0, found);
    assert_eq!(hubcap.stop(), Some(0));
    assert_eq!(place.blobs().len(), 1);
    let told = succeeds(&run_at(&place, "gc", &[]));
    assert!(told.contains(&format!("docker.io/library/app@{} (referrers)", image.digest)), "{told}");
    assert_eq!(place.blobs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_part_of_the_key() {
    let ((origin, image, _), place) = (origin(Kept::Nowhere).await, Place::new());
    let hubcap = place.start(&origin.url(), &[]);
    assert_eq!(hubcap.get(&manifest("app", "1")).await.status(), 200);
    let key = || succeeds(&run_at(&place, "key", &[]));
    let before = key();
    list(&hubcap, &path("app", &image.digest)).await;
    let after = key();
    assert_ne!(before, after);
    list(&hubcap, &path("app", &image.digest)).await;
    assert_eq!(after, key());
}
