use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hubcap_oci::{Algorithm, Digest, Manifest, Tag, Target, media_type};
use serde_json::json;

use super::directory::{Directory, Location};
use super::read::Head;
use super::write::{NewPack, Saving};
use super::{LARGE, PREFIX};
use crate::{Options, Store};

/// A store in a directory of its own.
struct Machine {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        Self { _dir: dir, store }
    }

    /// Another machine, with what the service has.
    fn with(head: &Head) -> Self {
        let machine = Self::new();
        machine.store.take(head).expect("taken");
        machine
    }

    fn has(&self, content: &[u8]) -> bool {
        self.store.has(&sha256(content))
    }

    /// Brings a content in, as a registry gives it.
    fn bring(&self, target: &Target, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let mut ingest = self.store.ingest(digest, Some(content.len() as u64)).expect("an ingest");
        ingest.write(&Bytes::copy_from_slice(content)).expect("written");
        ingest.commit().expect("committed");
        self.store.link(target, &digest);
        digest
    }

    /// Pulls an image of one layer.
    fn pull(&self, name: &str, layer: &[u8]) -> Bytes {
        let target = target(name);
        let config = format!("{{\"of\":\"{name}\"}}");
        let (config_digest, layer_digest) =
            (self.bring(&target, config.as_bytes()), self.bring(&target, layer));
        let bytes = Bytes::from(
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer_digest, "size": layer.len()}]})
            .to_string(),
        );
        let manifest = Manifest::parse(sha256(&bytes), &bytes, None).expect("a manifest");
        self.store.put_manifest(&target, &manifest, &bytes, Some(&tag())).expect("stored");
        bytes
    }

    fn save(&self, saving: &Saving<'_>) -> NewPack {
        self.store.pack(saving).expect("a pack")
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn target(name: &str) -> Target {
    Target {
        registry: "docker.io".parse().expect("a registry"),
        repository: name.parse().expect("a repository"),
    }
}

fn tag() -> Tag {
    "1".parse().expect("a tag")
}

/// A layer that is too large for a pack's head and too small for an entry of its own.
fn layer(of: u8) -> Vec<u8> {
    vec![of; 100 << 10]
}

fn head(key: &str, pack: &NewPack) -> Head {
    let length = Head::length(key, &pack.read(0..PREFIX).expect("read")).expect("a pack");
    Head::read(key, &pack.read(0..length).expect("read")).expect("a head")
}

fn directory(key: &str, pack: &NewPack) -> Directory {
    head(key, pack).into_directory()
}

/// What a service with these packs gives for a content.
fn fetch(packs: &HashMap<&str, NewPack>, directory: &Directory, content: &[u8]) -> Bytes {
    let (location, size) = directory.find(&sha256(content)).expect("a place");
    let Location::Pack { key, range } = location else { panic!("{location:?}") };
    assert_eq!(range.end - range.start, size);
    packs[key.as_str()].read(range).expect("read")
}

#[tokio::test]
async fn another_machine_knows_the_image_from_the_head_and_reads_its_layer_by_range() {
    let first = Machine::new();
    let manifest = first.pull("library/a", &layer(1));
    let pack = first.save(&Saving::default());
    let head = head("p", &pack);
    assert!(head_length(&pack) < 4 << 10, "the layer is not in the head");

    let second = Machine::with(&head);
    let (_, found) =
        second.store.manifest(&target("library/a"), &sha256(&manifest)).expect("read").expect("there");
    assert_eq!(found, manifest);
    assert!(second.has(br#"{"of":"library/a"}"#), "what is small comes with the head");
    assert!(!second.has(&layer(1)));
    assert!(second.store.is_named(&target("library/a"), &sha256(&layer(1))));
    let tag = second.store.tag(&target("library/a"), &tag()).expect("the tag");
    assert!(matches!(tag.validated, crate::Validation::Unknown), "a registry is asked again");
    let packs = HashMap::from([("p", pack)]);
    assert_eq!(fetch(&packs, &head.into_directory(), &layer(1)), layer(1));
}

fn head_length(pack: &NewPack) -> u64 {
    Head::length("p", &pack.read(0..PREFIX).expect("read")).expect("a pack")
}

#[tokio::test]
async fn images_a_b_a_hit_although_no_job_has_both() {
    let mut packs = HashMap::new();
    let one = Machine::new();
    one.pull("library/a", &layer(1));
    packs.insert("1", one.save(&Saving::default()));
    let newest = directory("1", &packs["1"]);

    let two = Machine::with(&head("1", &packs["1"]));
    two.pull("library/b", &layer(2));
    let second = two.save(&Saving { directory: Some(&newest), ..Saving::default() });
    assert!(second.size() < (100 << 10) + (8 << 10), "what the first pack has is not sent again");
    packs.insert("2", second);
    let newest = directory("2", &packs["2"]);

    let three = Machine::with(&head("2", &packs["2"]));
    assert_eq!(fetch(&packs, &newest, &layer(1)), layer(1));
    assert_eq!(fetch(&packs, &newest, &layer(2)), layer(2));
    let third = three.save(&Saving { directory: Some(&newest), ..Saving::default() });
    assert_eq!(third.key(), packs["2"].key(), "there is nothing new to save");
}

#[tokio::test]
async fn nothing_private_is_in_a_pack() {
    let machine = Machine::new();
    machine.pull("library/a", &layer(1));
    machine.store.mark_private(&target("acme/secret")).expect("marked");
    let secret = machine.pull("acme/secret", &layer(2));
    let pack = machine.save(&Saving::default());
    let all = pack.read(0..pack.size()).expect("read");
    assert!(!String::from_utf8_lossy(&all).contains("acme"));
    let directory = directory("p", &pack);
    assert!(directory.find(&sha256(&secret)).is_none() && directory.find(&sha256(&layer(2))).is_none());
    assert!(directory.find(&sha256(&layer(1))).is_some());
}

#[tokio::test]
async fn a_large_content_is_named_where_it_has_an_entry() {
    let machine = Machine::new();
    let large = vec![3; LARGE as usize];
    machine.pull("library/a", &large);
    let without = directory("p", &machine.save(&Saving::default()));
    assert_eq!(without.find(&sha256(&large)), None);
    let entries = HashMap::from([(sha256(&large), 2)]);
    let pack = machine.save(&Saving { entries, ..Saving::default() });
    assert!(pack.size() < 8 << 10);
    assert_eq!(directory("p", &pack).find(&sha256(&large)), Some((Location::Entry { slot: 2 }, LARGE)));
}

#[tokio::test]
async fn what_the_service_has_lost_is_packed_again_where_it_is_here() {
    let first = Machine::new();
    first.pull("library/a", &layer(1));
    let pack = first.save(&Saving::default());
    let old = directory("1", &pack);
    let lost = HashSet::from([sha256(&layer(1))]);
    let again = first.save(&Saving { directory: Some(&old), lost: lost.clone(), ..Saving::default() });
    let packs = HashMap::from([("2", again.clone())]);
    assert_eq!(fetch(&packs, &directory("2", &again), &layer(1)), layer(1));

    let second = Machine::with(&head("1", &pack));
    let without = second.save(&Saving { directory: Some(&old), lost, ..Saving::default() });
    assert_eq!(directory("2", &without).find(&sha256(&layer(1))), None);
}

#[tokio::test]
async fn a_content_with_other_bytes_is_left_out() {
    let machine = Machine::new();
    let manifest = machine.pull("library/a", &layer(1));
    let pack = machine.save(&Saving::default());
    let mut bytes = pack.read(0..head_length(&pack)).expect("read").to_vec();
    let at = bytes.windows(manifest.len()).position(|window| window == manifest).expect("in the head");
    bytes[at] ^= 1;
    let head = Head::read("p", &bytes.into()).expect("a head");
    let other = Machine::new();
    assert_eq!(other.store.take(&head).expect("taken").left_out, 1);
    assert!(!other.has(&manifest) && other.store.tag(&target("library/a"), &tag()).is_none());
}

#[tokio::test]
async fn a_pack_that_names_what_came_by_a_login_gives_nobody_that() {
    let (machine, strangers) = (Machine::new(), Machine::new());
    machine.store.mark_private(&target("org/private")).expect("marked");
    let bytes = machine.pull("org/private", &layer(1));
    let manifest = Manifest::parse(sha256(&bytes), &bytes, None).expect("a manifest");
    strangers.store.put_manifest(&target("evil/image"), &manifest, &bytes, Some(&tag())).expect("stored");
    machine.store.take(&head("p", &strangers.save(&Saving::default()))).expect("taken");
    assert!(!machine.store.is_linked(&target("evil/image"), &sha256(&bytes)));
    assert!(machine.store.tag(&target("evil/image"), &tag()).is_none());
    assert!(machine.store.is_linked(&target("org/private"), &sha256(&bytes)));
}

#[test]
fn what_is_no_pack_is_refused_with_its_name() {
    for bytes in [&b""[..], b"hubcap pack 2\n\0\0", b"hubcap pack 1\n\0\0", &[0xff; 32]] {
        let error = Head::length("prefix@1", bytes).expect_err("no pack").to_string();
        assert!(error.starts_with("prefix@1 is damaged: "), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        directory in 0u64..200, head in 0u64..200, json in ".{0,80}", rest in proptest::collection::vec(0u8.., 0..200),
        size: u64, at: u64, pack in 0usize..20,
    ) {
        let digest = sha256(b"x");
        let plausible = json!({"packs": [{"key": "k", "begin": at}], "images": {"schemaVersion": 2, "manifests": []},
            "contents": [{"digest": digest, "size": size, "used": at, "at": at, "pack": pack}]}).to_string();
        for (text, length) in [(json, directory), (plausible.clone(), plausible.len() as u64)] {
            let mut bytes = b"hubcap pack 1\n\0\0".to_vec();
            bytes.extend(length.to_be_bytes());
            bytes.extend(head.to_be_bytes());
            bytes.extend(text.as_bytes());
            bytes.extend(&rest);
            let bytes = Bytes::from(bytes);
            let _ = Head::length("p", &bytes);
            if let Ok(head) = Head::read("p", &bytes) {
                let store = tempfile::tempdir().expect("a directory");
                let store = Store::open(store.path(), Options::default()).expect("a store");
                let _ = store.take(&head);
                let _ = head.into_directory().find(&digest);
            }
        }
    }
}

#[tokio::test]
async fn a_slot_that_was_lost_is_told_until_the_content_has_an_entry() {
    let machine = Machine::new();
    let large = vec![9; LARGE as usize];
    machine.pull("library/a", &large);
    let digest = sha256(&large);
    let plain = machine.save(&Saving::default());
    let lost = machine.save(&Saving { slots: HashMap::from([(digest, 1)]), ..Saving::default() });
    assert_ne!(plain.key(), lost.key(), "it is saved although it names the same");
    let told = directory("p", &lost);
    assert_eq!((told.first_slot(&digest), told.first_slot(&sha256(b"other"))), (1, 0));
    assert!(told.find(&digest).is_none());

    // Another job has nothing to add to that.
    let next = machine.save(&Saving { directory: Some(&told), ..Saving::default() });
    assert_eq!((next.key(), directory("q", &next).first_slot(&digest)), (lost.key(), 1));
    let entries = HashMap::from([(digest, 1)]);
    let saved = machine.save(&Saving { directory: Some(&told), entries, ..Saving::default() });
    let told = directory("r", &saved);
    assert_eq!(told.first_slot(&digest), 0);
    assert_eq!(told.find(&digest), Some((Location::Entry { slot: 1 }, LARGE)));
}
