use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hubcap_oci::{Algorithm, Registry, media_type};

use super::*;
use crate::validation::{Moment, Validation};

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
        index.link(&target(name), &[digest("layer")], Word::Registry);
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

/// A store that is not in its place until this is dropped: nothing can be written there, or removed.
struct Away {
    place: PathBuf,
    moved: PathBuf,
}

impl Away {
    fn move_away(layout: &Layout) -> Self {
        let (place, moved) = (layout.root().to_owned(), layout.root().with_extension("away"));
        std::fs::rename(&place, &moved).expect("moved");
        std::fs::write(&place, "in the way").expect("written");
        Self { place, moved }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        std::fs::remove_file(&self.place).expect("removed");
        std::fs::rename(&self.moved, &self.place).expect("moved back");
    }
}

#[test]
fn no_copy_of_an_index_names_what_was_private_or_that_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("store")).expect("a layout");
    let (index, _) = Index::open(&layout, &images());
    let copies = [layout.new_sled(), layout.corrupt_sled()];
    for is_directory in [true, false] {
        for copy in &copies {
            match is_directory {
                true => std::fs::create_dir(copy).and_then(|()| std::fs::write(copy.join("db"), "private")),
                false => std::fs::write(copy, "private"),
            }
            .expect("made");
        }
        index.forget_private().expect("forgotten");
        assert!(copies.iter().all(|copy| !copy.exists()) && !index.is_private(&target("private")));
    }
    let _away = Away::move_away(&layout);
    assert!(index.forget_private().is_err(), "nobody knows what is there");
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
fn an_index_beside_another_index_json_is_not_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    Index::open(&layout, &ImageIndex::default()).0.close(true);
    layout.write_index(&images()).expect("written");
    let (index, clean) = Index::open(&layout, &images());
    assert!(!clean);
    assert!(index.is_private(&target("private")), "as the newer of the two says");
}

#[test]
fn an_index_that_the_disk_does_not_take_is_kept_in_memory_until_it_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(&dir.path().join("store")).expect("a layout");
    layout.write_index(&images()).expect("written");
    let (index, _) = Index::open(&layout, &images());
    index.link(&target("a"), &[digest("layer")], Word::Registry);
    // An error of the disk, also of a new index there.
    let refused = || sled::Error::ReportableBug("the disk fails".into());
    let done = index.db.with(|trees| if trees.is_in_memory() { Ok(()) } else { Err(refused()) });
    assert_eq!(done, Some(()));
    let away = Away::move_away(&layout);
    assert!(index.is_private(&target("private")), "as index.json says");
    index.link(&target("b"), &[digest("layer")], Word::Registry);
    index.flush();
    assert!(index.is_linked(&target("b"), &digest("layer")));
    drop(away);
    index.flush();
    assert!(layout.sled().join("db").exists(), "the disk has it again");
    assert!(index.is_linked(&target("b"), &digest("layer")) && index.is_private(&target("private")));
    index.close(true);
    let (index, clean) = Index::open(&layout, &images());
    assert!(clean && index.is_linked(&target("b"), &digest("layer")));
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
fn what_is_added_does_not_decide_what_a_manifest_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let index = Index::temporary(&layout, &ImageIndex::default());
    let plain = r#"{"schemaVersion":2,"config":{}}"#;
    let own = format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{{}}}}"#, media_type::OCI_MANIFEST);
    let mut found = ImageIndex::default();
    for text in [plain, &own] {
        std::fs::write(layout.blob(&digest(text)), text).expect("written");
        layout.mark(&digest(text), Readers::All);
        let said = Descriptor::new(media_type::DOCKER_MANIFEST, digest(text), text.len() as u64);
        for name in ["known", "new"] {
            found.put(&target(name), None, &said, false);
        }
    }
    for text in [plain, &own] {
        index.own(
            &target("known"),
            &digest(text),
            Some(media_type::OCI_MANIFEST),
            By::Registry,
            Word::Registry,
        );
    }
    index.add(&found);
    let known = |name: &str, text: &str| index.media_type(&target(name), &digest(text)).expect("it has it");
    assert_eq!([plain, &own].map(|text| known("known", text).to_string()), [media_type::OCI_MANIFEST; 2]);
    assert_eq!(&*known("new", plain), media_type::DOCKER_MANIFEST, "nobody else says anything");
    assert_eq!(&*known("new", &own), media_type::OCI_MANIFEST);
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
fn what_was_pulled_by_digest_only_is_in_a_rebuilt_index_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let index = Index::temporary(&layout, &ImageIndex::default());
    let child = manifest("child");
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","size":5,"digest":"{}"}}]}}"#,
        child.media_type, child.digest
    );
    let top = Descriptor::new(media_type::OCI_INDEX, digest(&text), text.len() as u64);
    for (descriptor, bytes) in [(&child, "child"), (&top, text.as_str())] {
        std::fs::write(layout.blob(&descriptor.digest), bytes).expect("written");
        index.own(
            &target("a"),
            &descriptor.digest,
            Some(&descriptor.media_type),
            By::Registry,
            Word::Registry,
        );
    }
    index.own(&target("a"), &digest("layer"), None, By::Registry, Word::Registry);
    index.own(&target("a"), &digest("gone"), Some(media_type::OCI_MANIFEST), By::Registry, Word::Registry);
    let rebuilt = index.image_index();
    let entries: Vec<Descriptor> = rebuilt.entries().map(|entry| entry.descriptor).collect();
    assert_eq!(entries, [top], "and what it names has no entry of its own");
}

#[test]
fn a_validation_of_another_run_of_the_machine_is_a_time_to_tell_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, _) = Index::open(&Layout::create(dir.path()).expect("a layout"), &ImageIndex::default());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let here = Validation::Here(Moment { at, up: Duration::from_secs(1000) });
    for (validated, found) in [
        (here, here),
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

/// As many contents as are linked together.
fn contents(round: usize) -> Vec<Digest> {
    (0..MOST_LINKS).map(|n| digest(&format!("{round} {n}"))).collect()
}

/// A name that makes links long: sled's files become large by few of them.
fn long() -> Target {
    target(&"a".repeat(190))
}

#[test]
fn an_index_is_written_anew_when_it_is_much_larger_than_what_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let (index, _) = Index::open(&layout, &images());
    for round in 0..6 {
        index.link(&long(), &contents(round), Word::Registry);
    }
    index.forget_contents(&(0..6).flat_map(contents).collect());
    index.link(&long(), &[digest("kept")], Word::Registry);
    index.db.with(|trees| trees.flush()).expect("written");
    let before = layout.size_of_sled();
    index.flush();
    let after = layout.size_of_sled();
    assert!(before > 4 << 20 && after < 1 << 20, "{before} bytes became {after}");
    // It has what it had, and takes more.
    assert!(index.is_private(&target("private")) && index.tag(&target("private"), &tag()).is_some());
    assert!(index.is_linked(&long(), &digest("kept")) && !index.is_linked(&long(), &digest("5 9")));
    index.link(&target("b"), &[digest("more")], Word::Registry);
    index.close(true);
    let (index, clean) = Index::open(&layout, &images());
    assert!(clean && index.is_linked(&target("b"), &digest("more")));
    assert!(!layout.new_sled().exists());
}

#[test]
fn an_index_that_is_locked_for_a_moment_is_opened_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let (index, _) = Index::open(&layout, &images());
    index.link(&target("a"), &[digest("kept")], Word::Registry);
    index.close(true);
    // As by a thread of sled's that has written the last, and still has the file.
    let file = File::open(layout.sled().join("db")).expect("sled's file");
    // Whoever closed the index may still have it.
    while file.try_lock().is_err() {
        std::thread::yield_now();
    }
    let opened = std::thread::spawn({
        let layout = layout.clone();
        move || Index::open(&layout, &images())
    });
    std::thread::sleep(Duration::from_millis(100));
    drop(file);
    let (index, clean) = opened.join().expect("no panic");
    assert!(clean && index.is_linked(&target("a"), &digest("kept")));
    assert!(!layout.corrupt_sled().exists());
}

#[test]
fn an_index_that_needs_its_room_is_not_written_anew_again_and_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(dir.path()).expect("a layout");
    let (index, _) = Index::open(&layout, &images());
    for round in 0..4 {
        index.link(&long(), &contents(round), Word::Registry);
    }
    // Whatever that does.
    index.compact();
    index.db.with(|trees| trees.flush()).expect("written");
    let file = || std::fs::metadata(layout.sled().join("db")).expect("there").ino();
    let (before, size) = (file(), layout.size_of_sled());
    index.compact();
    assert!(size > 4 << 20, "{size} bytes are small enough in any case");
    assert_eq!(file(), before, "{size} bytes");
}
