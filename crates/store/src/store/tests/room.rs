//! What makes room, and what room is made for.

use hubcap_oci::{Algorithm, Digest, Registry, Target};

use super::{Kept, path_of, put, sha512, store, with_limit};
use crate::{Error, Store, Wanted};

/// Less than 500 long names take.
const NAMES: u64 = 1200 << 10;

#[tokio::test]
async fn a_content_that_cannot_be_removed_is_passed_over() {
    let (dir, store) = with_limit(4 << 20);
    let [first, second] = [1, 2].map(|value| put(&store, value, 1 << 20));
    let kept = Kept::new(&path_of(&dir, &first));
    let third = put(&store, 3, 2 << 20);
    assert!(store.has(&first) && !store.has(&second) && store.has(&third), "the next one goes in its place");
    let all = [Kept::new(&path_of(&dir, &third)), kept];
    let mut ingest = store.ingest(sha512(b"more"), Some(2 << 20)).expect("an ingest");
    let refused = ingest.write(&vec![4; 2 << 20].into());
    assert!(matches!(refused, Err(Error::NoRoom { .. })), "{refused:?}");
    let refused = store.ingest(sha512(b"more"), Some(2 << 20));
    assert!(refused.is_err(), "it is known by now that nothing goes");
    drop(all);
    assert!(store.evict(Wanted::Limits).is_ok());
}

#[tokio::test]
async fn what_is_in_quarantine_makes_room() {
    let (_dir, store) = with_limit(4 << 20);
    let damaged = put(&store, 1, 3 << 20);
    store.quarantine(&damaged);
    let next = put(&store, 2, 3 << 20);
    assert!(store.has(&next));
}

/// A store that is too large by what it has of 500 names alone.
fn too_many_names() -> (tempfile::TempDir, Store) {
    let (dir, store) = with_limit(NAMES);
    let bytes = br#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#;
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let manifest = hubcap_oci::Manifest::parse(digest, bytes, Some(hubcap_oci::media_type::OCI_MANIFEST));
    let manifest = manifest.expect("a manifest");
    for number in 0..500 {
        let target = Target {
            registry: Registry::docker_hub(),
            repository: format!("{}/r{number}", "long".repeat(30)).parse().expect("a name"),
        };
        let tag = "t".parse().expect("a tag");
        store.put_manifest(&target, &manifest, &bytes.to_vec().into(), Some(&tag)).expect("stored");
    }
    assert_eq!(names(&store), 500);
    (dir, store)
}

fn names(store: &Store) -> usize {
    store.0.catalog.images.lock().expect("not poisoned").entries().count()
}

#[tokio::test]
async fn a_store_that_only_names_make_too_large_is_made_smaller() {
    let (_dir, store) = too_many_names();
    store.keep_size().expect("kept");
    let stored = store.size() + store.0.catalog.layout.size_of_indexes();
    assert!(stored <= NAMES && names(&store) > 0, "{stored} bytes, {} names", names(&store));
}

#[tokio::test]
async fn no_more_names_go_than_make_a_store_too_large() {
    let (_dir, store) = too_many_names();
    let removed = store.evict(Wanted::Limits).expect("removed").len();
    assert!(removed > 0 && names(&store) > 0, "{removed} are removed");
}

#[tokio::test]
async fn what_is_promised_to_others_is_not_free_before_the_disk_gives_it() {
    let (dir, store) = store();
    let mut ingest = store.ingest(sha512(b"x"), None).expect("an ingest");
    ingest.write(&vec![1; 1000].into()).expect("written");
    let partial =
        std::fs::read_dir(dir.path().join("ingest")).expect("there").next().expect("one").expect("read");
    let metadata = partial.metadata().expect("there");
    let taken = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    assert!(taken >= 16 << 20, "{taken} bytes are taken");
}

#[tokio::test]
async fn a_step_of_an_ingest_takes_what_is_free_and_nothing_more_goes_for_it_than_has_come() {
    let (_dir, store) = with_limit(12 << 20);
    let kept: Vec<Digest> = (1..=10).map(|value| put(&store, value, 1 << 20)).collect();
    for size in [None, Some(8 << 20)] {
        let mut ingest = store.ingest(sha512(b"never"), size).expect("an ingest");
        if let Some(size) = size {
            ingest.allocate(size).expect("it would fit");
        }
        ingest.write(&vec![1].into()).expect("written");
        let left = kept.iter().filter(|digest| store.has(digest)).count();
        assert!(left >= 9, "{left} are left for one byte of {size:?}");
    }
}
