//! What makes room, and what room is made for.

use hubcap_oci::{Algorithm, Descriptor, Digest, Registry, Target, media_type};

use super::{Kept, path_of, put, sha512, store, with_limit};
use crate::{Error, Limit, Limits, Options, Store, Wanted};

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

#[test]
fn nothing_goes_for_an_import_whose_content_is_not_what_it_is_called() {
    let (_dir, store) = with_limit(4 << 20);
    let kept = put(&store, 1, 3 << 20);
    let from = tempfile::tempdir().expect("a directory");
    let blobs = from.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    let add = |bytes: &[u8]| {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        std::fs::write(blobs.join(digest.hex()), bytes).expect("written");
        serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest.to_string(), "size": bytes.len()})
    };
    // It takes no room where it is.
    let layer = Digest::of(Algorithm::Sha256, b"another");
    let sparse = std::fs::File::create(blobs.join(layer.hex())).expect("made");
    sparse.set_len(3 << 20).expect("made longer");
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": add(b"{}"),
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.to_string(), "size": 3 << 20}]});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [add(manifest.to_string().as_bytes())]});
    std::fs::write(from.path().join("index.json"), index.to_string()).expect("written");
    std::fs::write(from.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let name = "docker.io/a/b:1".parse().expect("a name");
    let error = store.import(from.path(), Some(&name), &|_| ()).expect_err("it is damaged").to_string();
    assert!(error.contains("damaged"), "{error}");
    assert!(store.has(&kept), "nothing went for it");
}

#[tokio::test]
async fn what_is_in_quarantine_makes_room() {
    let (_dir, store) = with_limit(4 << 20);
    let damaged = put(&store, 1, 3 << 20);
    store.quarantine(&damaged);
    let next = put(&store, 2, 3 << 20);
    assert!(store.has(&next));
}

/// A store that is too large by what it has of names alone, and how large it may be. sled's files grow by half a mebibyte at a time, and
/// do not become smaller for a few names: there are more bytes of names than that takes.
fn too_many_names() -> (tempfile::TempDir, Store, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let open = |limits| Store::open(dir.path(), Options { limits, ..Options::default() }).expect("a store");
    let bytes = br#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#;
    let digest = Digest::of(Algorithm::Sha256, bytes);
    let descriptor = Descriptor::new(hubcap_oci::media_type::OCI_MANIFEST, digest, bytes.len() as u64);
    let tag = "t".parse().expect("a tag");
    let large = {
        let store = open(Limits::default());
        let mut images = store.0.catalog.images.lock().expect("not poisoned");
        for number in 0..3000 {
            let repository = format!("{}/r{number}", "long".repeat(30)).parse().expect("a name");
            images.put(
                &Target { registry: Registry::docker_hub(), repository },
                Some(&tag),
                &descriptor,
                false,
            );
        }
        store.0.catalog.layout.keep_index(&images);
        store.0.catalog.index.add(&images);
        drop(images);
        store.close();
        stored(&store)
    };
    let limit = large - (200 << 10);
    let store = open(Limits { max_size: Some(Limit::Bytes(limit)), min_free: None });
    assert_eq!(names(&store), 3000);
    (dir, store, limit)
}

fn names(store: &Store) -> usize {
    store.0.catalog.images.lock().expect("not poisoned").entries().count()
}

fn stored(store: &Store) -> u64 {
    store.size() + store.0.catalog.layout.size_of_indexes()
}

#[tokio::test]
async fn a_store_that_only_names_make_too_large_is_made_smaller() {
    let (_dir, store, limit) = too_many_names();
    store.keep_size().expect("kept");
    assert!(
        stored(&store) <= limit && names(&store) > 0,
        "{} bytes, {} names",
        stored(&store),
        names(&store)
    );
}

#[tokio::test]
async fn no_more_names_go_than_make_a_store_too_large() {
    let (_dir, store, _) = too_many_names();
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
