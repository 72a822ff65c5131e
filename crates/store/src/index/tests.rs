use std::sync::Arc;
use std::time::Duration;

use hubcap_oci::{Algorithm, Registry, media_type};

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

fn target(name: &str) -> Target {
    Target {
        registry: Registry::docker_hub(),
        repository: format!("library/{name}").parse().expect("a name"),
    }
}

fn manifest(name: &str) -> Descriptor {
    Descriptor::new(media_type::OCI_MANIFEST, digest(name), 7)
}

fn tag() -> Tag {
    "1".parse().expect("a tag")
}

/// `index.json` of one private image.
fn images() -> ImageIndex {
    let mut images = ImageIndex::default();
    images.put(&target("private"), Some(&tag()), &manifest("m"), true);
    images
}

#[test]
fn a_content_may_be_linked_to_several_repositories() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = Index::temporary(&Layout::at(dir.path()), &ImageIndex::default());
    for name in ["a", "b"] {
        index.link(&target(name), &[digest("layer")]);
    }
    assert_eq!(
        ["a", "b", "c"].map(|name| index.is_linked(&target(name), &digest("layer"))),
        [true, true, false]
    );
    assert_eq!(index.targets(&digest("layer")), [target("a"), target("b")]);
    // As well when it was asked before.
    assert_eq!(["a", "b"].map(|name| index.is_linked(&target(name), &digest("layer"))), [true, true]);
}

#[test]
fn a_repository_is_private_from_its_mark_on_until_it_is_taken_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = Index::temporary(&Layout::at(dir.path()), &ImageIndex::default());
    assert!(!index.is_private(&target("a")));
    index.mark_private(&target("a"));
    assert!(index.is_private(&target("a")) && !index.is_private(&target("b")));
    assert!(!index.is_private(&target("private")));
    index.add(&images());
    assert!(index.is_private(&target("private")));
    index.mark_public(&target("private"));
    assert!(index.is_private(&target("a")) && !index.is_private(&target("private")));
}

#[test]
fn an_index_that_cannot_be_read_calls_everything_private() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = Index::temporary(&Layout::at(dir.path()), &ImageIndex::default());
    index.close(false);
    assert!(index.is_private(&target("a")));
}

#[test]
fn what_a_clean_shutdown_left_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let (index, clean) = Index::open(&layout, &images());
    assert!(!clean);
    let entry = TagEntry { descriptor: Arc::new(manifest("m")), validated: Validation::Unknown };
    index.put_tag(&target("other"), &tag(), &entry);
    index.close(true);
    let (index, clean) = Index::open(&layout, &ImageIndex::default());
    assert!(clean);
    assert_eq!(index.tag(&target("other"), &tag()), Some(entry));
    drop(index);
    let (_, clean) = Index::open(&layout, &ImageIndex::default());
    assert!(!clean, "it was not closed");
}

#[test]
fn a_corrupt_index_is_filled_from_the_layout() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    Index::open(&layout, &images()).0.close(true);
    std::fs::write(layout.sled().join("conf"), b"rubbish").expect("written");
    let (index, clean) = Index::open(&layout, &images());
    assert!(!clean);
    let found = index.tag(&target("private"), &tag()).expect("the tag");
    assert_eq!((found.descriptor.digest, found.validated), (digest("m"), Validation::Unknown));
    assert!(index.is_private(&target("private")));
}

#[test]
fn a_lost_index_json_is_rebuilt_from_the_index() {
    let dir = tempfile::tempdir().expect("a directory");
    let index = Index::temporary(&Layout::at(dir.path()), &images());
    let rebuilt = index.image_index();
    let entries: Vec<_> = rebuilt.entries().map(|entry| (entry.name(), entry.private)).collect();
    assert_eq!(entries, [("docker.io/library/private:1".to_owned(), true)]);
}

#[test]
fn a_validation_of_another_run_of_the_machine_is_a_time_to_tell_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, _) = Index::open(&Layout::create(dir.path()).expect("a layout"), &ImageIndex::default());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for (validated, found) in [
        (Validation::Here(at), Validation::Here(at)),
        (Validation::Elsewhere(at), Validation::Elsewhere(at)),
        (Validation::Unknown, Validation::Unknown),
    ] {
        let entry = TagEntry { descriptor: Arc::new(manifest("m")), validated };
        index.put_tag(&target("a"), &tag(), &entry);
        // Read from sled, not from memory.
        lock(&index.tags).clear();
        assert_eq!(index.tag(&target("a"), &tag()).expect("stored").validated, found);
    }
}
