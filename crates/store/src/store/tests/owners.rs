//! Who has what, and which names are known, after kills, imports and changes by others.

use std::os::unix::fs::PermissionsExt as _;

use hubcap_oci::{Algorithm, Digest, Registry, Target};

use super::{Kept, path_of, put, put_image, sha512, store};
use crate::index::Word;
use crate::permissions::Readers;
use crate::{Layout, Options, Store, Wanted};

/// A repository of Docker Hub.
fn target(name: &str) -> Target {
    Target { registry: Registry::docker_hub(), repository: name.parse().expect("a name") }
}

#[tokio::test]
async fn a_store_in_the_place_of_ours_gives_nobody_what_comes_later() {
    let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let digest = sha512(&vec![1; 1000]);
    // Whoever wrote this one says that it has what is not there.
    let forged = Store::open(other.path(), Options::default()).expect("a store");
    put(&forged, 1, 1000);
    forged.link(&target("evil/x"), &digest);
    forged.close();
    drop(forged);
    std::fs::remove_file(path_of(&other, &digest)).expect("removed");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    std::fs::rename(dir.path(), dir.path().with_extension("old")).expect("moved");
    std::fs::rename(other.path(), dir.path()).expect("moved");
    store.flush();
    store.mark_private(&target("a/private")).expect("marked");
    assert_eq!(put(&store, 1, 1000), digest);
    store.link(&target("a/private"), &digest);
    assert!(store.is_linked(&target("a/private"), &digest));
    assert!(!store.is_linked(&target("evil/x"), &digest));
    std::fs::remove_dir_all(dir.path().with_extension("old")).expect("removed");
}

#[test]
fn what_names_a_kill_leaves_in_the_index_go_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let target = target("a/b");
    let named: Vec<Digest> = (0..100_u32).map(|number| sha512(&number.to_be_bytes())).collect();
    {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.0.catalog.index.link(&target, &named, Word::Registry);
        store.flush();
    }
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert_eq!(store.0.catalog.index.linked(&target), []);
}

#[test]
fn names_that_only_the_index_has_are_in_index_json_again() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        put_image(&store);
        store.close();
    }
    std::fs::remove_file(dir.path().join("index.json")).expect("removed");
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert!(store.evict(Wanted::Limits).expect("looked at").is_empty());
    let names: Vec<String> = store.used_since(std::time::UNIX_EPOCH).into_iter().collect();
    assert_eq!(names, ["docker.io/library/x:TAG"]);
}

#[test]
fn modes_that_somebody_has_widened_make_nothing_public() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, named, given) = (target("a/private"), target("a/names"), target("a/public"));
    let [secret, shared] = {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.mark_private(&private).expect("marked");
        let [secret, shared] = [1, 2].map(|value| put(&store, value, 1000));
        store.link(&private, &secret);
        store.link(&private, &shared);
        store.link(&given, &shared);
        store.0.catalog.index.link(&named, &[secret], Word::Registry);
        store.close();
        for digest in [secret, shared] {
            let widened = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(path_of(&dir, &digest), widened).expect("widened");
        }
        [secret, shared]
    };
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    let mode = |digest| std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(&shared)), (0o600, 0o644));
    assert!(store.is_linked(&private, &secret) && !store.is_linked(&named, &secret));
}

/// A manifest with this content as its only layer.
fn manifest_of(layer: &Digest) -> (hubcap_oci::Manifest, bytes::Bytes) {
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
        "layers": [{"mediaType": "a/b", "digest": layer, "size": 5}]});
    let bytes = bytes::Bytes::from(text.to_string());
    let manifest = hubcap_oci::Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
    (manifest.expect("a manifest"), bytes)
}

#[test]
fn modes_that_somebody_changes_while_the_store_is_open_make_nothing_public_or_private_for_good() {
    let (dir, store) = store();
    let (private, public, stranger) = (target("a/private"), target("a/public"), target("a/stranger"));
    store.mark_private(&private).expect("marked");
    let [secret, layer] = [1, 2].map(|value| put(&store, value, 1000));
    for (target, layer) in [(&private, &secret), (&public, &layer)] {
        store.link(target, layer);
        let (manifest, bytes) = manifest_of(layer);
        store.put_manifest(target, &manifest, &bytes, Some(&"1".parse().expect("a tag"))).expect("stored");
    }
    store.0.catalog.index.link(&stranger, &[secret], Word::Registry);
    let change = |mode| {
        for digest in [&secret, &layer] {
            std::fs::set_permissions(path_of(&dir, digest), std::fs::Permissions::from_mode(mode))
                .expect("changed");
        }
    };
    // As `chmod --recursive 777` in a workspace.
    change(0o777);
    assert!(!store.is_linked(&stranger, &secret), "at once");
    change(0o644);
    assert!(!store.is_linked(&stranger, &secret), "at once");
    for mode in [0o777, 0o644] {
        change(mode);
        store.evict(Wanted::Limits).expect("nothing to do");
        let modes = [&secret, &layer].map(|digest| {
            std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777
        });
        assert_eq!(modes, [0o600, 0o644]);
    }
}

#[test]
fn a_list_that_a_private_and_a_public_manifest_have_stays_the_public_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public, subject) = (target("a/private"), target("a/public"), sha512(b"subject"));
    let [empty, other] = [vec![], vec![sha512(b"signature")]].map(|named: Vec<Digest>| {
        let named: Vec<_> = named
            .iter()
            .map(|digest| serde_json::json!({"mediaType": hubcap_oci::media_type::OCI_MANIFEST, "digest": digest, "size": 5}))
            .collect();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": named});
        bytes::Bytes::from(index.to_string())
    });
    {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.mark_private(&private).expect("marked");
        store.put_referrers(&private, &subject, &empty).expect("stored");
        store.put_referrers(&public, &subject, &empty).expect("stored");
        store.put_referrers(&private, &sha512(b"other"), &other).expect("stored");
        store.close();
        // As somebody changes it.
        let path = path_of(&dir, &Digest::of(Algorithm::Sha256, &other));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("widened");
    }
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    let is_read = |target| store.referrers(target, &subject).expect("no error").is_some();
    assert!(is_read(&private) && is_read(&public));
    let path = path_of(&dir, &Digest::of(Algorithm::Sha256, &other));
    assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_was_imported_stays_for_this_machine_whatever_its_mode_becomes() {
    let (dir, store) = store();
    let target = target("a/b");
    let layer = put(&store, 1, 1000);
    store.link_imported(&target, &layer, true);
    let (manifest, bytes) = manifest_of(&layer);
    let tag = "1".parse().expect("a tag");
    store
        .put_manifest_for(&target, &manifest, &bytes, Some(&tag), (Readers::Local, Word::Layout))
        .expect("stored");
    for mode in [0o777, 0o444, 0o644] {
        std::fs::set_permissions(path_of(&dir, &layer), std::fs::Permissions::from_mode(mode))
            .expect("changed");
        store.evict(Wanted::Limits).expect("nothing to do");
        let mode = std::fs::metadata(path_of(&dir, &layer)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o400);
    }
    store.evict(Wanted::Private).expect("removed");
    assert!(!store.has(&layer));
}

#[test]
fn a_yes_of_a_registry_is_enough_only_for_what_the_registry_gave() {
    let (_dir, store) = store();
    let (imported, given) = (put(&store, 1, 1000), put(&store, 2, 1000));
    store.mark_private(&target("a/private")).expect("marked");
    store.link_imported(&target("a/private"), &imported, true);
    store.link(&target("a/private"), &given);
    assert!(!store.is_confirmable(&target("a/other"), &imported));
    assert!(store.is_confirmable(&target("a/other"), &given));
}

#[test]
fn what_was_imported_for_a_private_repository_is_not_public_with_it() {
    let (dir, store) = store();
    let target = target("a/b");
    store.mark_private(&target).expect("marked");
    let (imported, given) = (put(&store, 1, 1000), put(&store, 2, 1000));
    store.link_imported(&target, &imported, true);
    assert_eq!(store.given(&target, None), None, "its registry knows nothing of it");
    store.link(&target, &given);
    store.mark_public(&target).expect("marked");
    let modes = [&imported, &given]
        .map(|digest| std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o644]);
}

#[test]
fn what_becomes_private_later_is_not_taken_for_a_store_that_has_lost_its_modes() {
    let (dir, store) = store();
    put_image(&store);
    let secret = {
        let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_MANIFEST,
            "config": {"mediaType": "a/b", "digest": sha512(b"x"), "size": 1}, "layers": []});
        let bytes = bytes::Bytes::from(text.to_string());
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let manifest = hubcap_oci::Manifest::parse(digest, &bytes, None).expect("one");
        store
            .put_manifest(&target("org/later"), &manifest, &bytes, Some(&"1".parse().expect("a tag")))
            .expect("stored");
        digest
    };
    store.flush();
    store.mark_private(&target("org/later")).expect("marked");
    // Killed, and the index is gone.
    let copy = tempfile::tempdir().expect("a directory");
    let cp = std::process::Command::new("cp").arg("--archive").args([dir.path(), copy.path()]).status();
    assert!(cp.expect("cp").success());
    let copy = copy.path().join(dir.path().file_name().expect("a name"));
    std::fs::remove_dir_all(copy.join("index-sled034-v2")).expect("removed");
    let layout = Layout::at(&copy);
    assert_eq!(layout.readers(&secret), Readers::Granted);
    let again = Store::open(&copy, Options::default()).expect("a store");
    let tag = again.tag(&target("library/x"), &"TAG".parse().expect("a tag")).expect("known");
    assert_eq!(layout.readers(&tag.descriptor.digest), Readers::All);
}

#[test]
fn what_cannot_be_read_or_is_no_content_is_not_known_to_be_for_everybody() {
    let (dir, store) = store();
    let layout = Layout::at(dir.path());
    assert!(!layout.has_private());
    for name in ["blobs/sha256/.partial.X", "blobs/sha256/ABC", "blobs/x", "quarantine/x"] {
        std::fs::write(dir.path().join(name), "secret").expect("written");
        assert!(layout.has_private(), "{name}");
        store.evict(Wanted::Private).expect("removed");
        assert!(!layout.has_private() && !dir.path().join(name).exists(), "{name}");
    }
    let contents = dir.path().join("blobs/sha384");
    std::fs::remove_dir(&contents).expect("empty");
    assert!(!layout.has_private(), "nothing is in what is not there");
    std::fs::write(&contents, "no directory").expect("written");
    assert!(layout.has_private(), "what is in it cannot be known");
}

#[test]
fn an_archive_of_a_store_that_has_lost_its_modes_gives_nobody_what_was_private() {
    let (from, earlier) = store();
    let (private, public, stranger) = (target("a/private"), target("a/public"), target("a/stranger"));
    earlier.mark_private(&private).expect("marked");
    let (secret, known) = (put(&earlier, 1, 1000), put(&earlier, 2, 1000));
    earlier.link(&private, &secret);
    earlier.link(&public, &known);
    earlier.publish(&public, &known);
    let tag = "1".parse().expect("a tag");
    let (manifest, bytes) = manifest_of(&known);
    earlier.put_manifest(&public, &manifest, &bytes, Some(&tag)).expect("stored");
    let (manifest, bytes) = manifest_of(&secret);
    earlier.put_manifest(&private, &manifest, &bytes, Some(&tag)).expect("stored");
    let text = serde_json::json!({"schemaVersion": 2, "mediaType": hubcap_oci::media_type::OCI_INDEX,
        "manifests": [manifest.descriptor]});
    let bytes = bytes::Bytes::from(text.to_string());
    let index = hubcap_oci::Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
    earlier.put_manifest(&stranger, &index.expect("an index"), &bytes, Some(&tag)).expect("stored");
    earlier.close();
    let archive = |is_lost: bool| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(if is_lost { 0o755 } else { 0o700 });
        tar.append_data(&mut header, "blobs/sha256", std::io::empty()).expect("packed");
        for (digest, path) in Layout::at(from.path()).digests() {
            let metadata = std::fs::metadata(&path).expect("there");
            let mut header = tar::Header::new_gnu();
            header.set_size(metadata.len());
            header.set_mode(if is_lost { 0o644 } else { metadata.permissions().mode() });
            let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
            tar.append_data(&mut header, name, std::fs::File::open(&path).expect("there")).expect("packed");
        }
        tar.append_path_with_name(from.path().join("index.json"), "index.json").expect("packed");
        tar.into_inner().expect("packed")
    };
    for is_lost in [false, true] {
        let (dir, store) = store();
        let mode_of = |digest: &Digest| {
            let metadata = std::fs::metadata(path_of(&dir, digest)).ok()?;
            Some(metadata.permissions().mode() & 0o777)
        };
        let before_index = || {
            let at_once = if is_lost { 0o600 } else { 0o644 };
            assert!([None, Some(at_once)].contains(&mode_of(&known)), "modes lost: {is_lost}");
            assert!([None, Some(0o600)].contains(&mode_of(&secret)), "modes lost: {is_lost}");
        };
        store.restore(archive(is_lost).as_slice(), &[], &before_index).expect("restored");
        for digest in [&secret, &manifest.descriptor.digest] {
            assert!(!store.is_linked(&stranger, digest), "{digest}, modes lost: {is_lost}");
            assert_eq!(mode_of(digest), Some(0o600));
        }
        let now = if is_lost { 0o600 } else { 0o644 };
        assert_eq!(mode_of(&known), Some(now), "of a copy without modes nothing is for everybody");
        assert!(store.is_linked(&private, &manifest.descriptor.digest));
    }
}

#[test]
fn an_archive_says_by_a_file_of_its_own_whether_its_modes_are_kept() {
    let (from, earlier) = store();
    earlier.mark_private(&target("a/private")).expect("marked");
    let (secret, known) = (put(&earlier, 1, 1000), put(&earlier, 2, 1000));
    earlier.link(&target("a/private"), &secret);
    earlier.link(&target("a/public"), &known);
    earlier.publish(&target("a/public"), &known);
    earlier.close();
    for (is_lost, expected) in [(false, [Readers::Granted, Readers::All]), (true, [Readers::Granted; 2])] {
        let mut tar = tar::Builder::new(Vec::new());
        // The file comes last, and there is no index.json.
        let layout = Layout::at(from.path());
        let mut files: Vec<_> = layout.digests().map(|(_, path)| path).collect();
        files.push(from.path().join("modes"));
        for path in files {
            let metadata = std::fs::metadata(&path).expect("there");
            let mut header = tar::Header::new_gnu();
            header.set_size(metadata.len());
            header.set_mode(if is_lost { 0o644 } else { metadata.permissions().mode() });
            let name = path.strip_prefix(from.path()).expect("below").to_owned();
            tar.append_data(&mut header, name, std::fs::File::open(&path).expect("there")).expect("packed");
        }
        let (dir, store) = store();
        store.restore(tar.into_inner().expect("packed").as_slice(), &[], &|| ()).expect("restored");
        let readers = [secret, known].map(|digest| Layout::at(dir.path()).readers(&digest));
        assert_eq!(readers, expected, "modes lost: {is_lost}");
    }
}

#[test]
fn a_store_without_modes_and_index_gives_nobody_what_no_manifest_names() {
    let (dir, store) = store();
    let (private, stranger) = (target("a/private"), target("a/stranger"));
    store.mark_private(&private).expect("marked");
    let (layer, orphan) = (put(&store, 1, 1000), put(&store, 2, 1000));
    [&layer, &orphan].iter().for_each(|digest| store.link(&private, digest));
    let (manifest, bytes) = manifest_of(&layer);
    store.put_manifest(&private, &manifest, &bytes, Some(&"1".parse().expect("a tag"))).expect("stored");
    store.close();
    drop(store);
    for is_manifest_there in [true, false] {
        if !is_manifest_there {
            std::fs::remove_file(path_of(&dir, &manifest.descriptor.digest)).expect("removed");
        }
        std::fs::remove_dir_all(Layout::at(dir.path()).sled()).expect("removed");
        for (_, path) in Layout::at(dir.path()).digests() {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("widened");
        }
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        store.0.catalog.index.link(&stranger, &[layer, orphan], Word::Registry);
        assert!(!store.is_linked(&stranger, &layer) && !store.is_linked(&stranger, &orphan));
        store.close();
    }
}

#[test]
fn modes_that_somebody_widens_after_a_kill_say_nothing_of_what_the_index_has_lost() {
    let (dir, store) = store();
    let (private, stranger) = (target("a/private"), target("a/stranger"));
    put_image(&store);
    store.flush();
    let older = dir.path().join("older");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let cp = std::process::Command::new("cp").arg("--archive").arg(from).arg(to).status();
        assert!(cp.expect("cp").success());
    };
    let layout = Layout::at(dir.path());
    copy(&layout.sled(), &older);
    // The index lacks the last seconds, in which only a digest of a private repository was asked for.
    store.mark_private(&private).expect("marked");
    let secret = put(&store, 1, 1000);
    store.link(&private, &secret);
    assert_eq!(layout.readers(&secret), Readers::Granted);
    store.close();
    drop(store);
    std::fs::remove_dir_all(layout.sled()).expect("removed");
    std::fs::remove_file(layout.clean_checksum()).expect("removed");
    copy(&older, &layout.sled());
    let chmod = std::process::Command::new("chmod").args(["--recursive", "a+rX"]).arg(dir.path()).status();
    assert!(chmod.expect("chmod").success());
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    store.0.catalog.index.link(&stranger, &[secret], Word::Registry);
    assert!(!store.is_linked(&stranger, &secret));
    assert_eq!(layout.readers(&secret), Readers::Granted);
    let tag = store.tag(&target("library/x"), &"TAG".parse().expect("a tag")).expect("known");
    assert_eq!(
        layout.readers(&tag.descriptor.digest),
        Readers::All,
        "what the index knows to be public stays so"
    );
    // And again, without any index.
    store.close();
    drop(store);
    std::fs::remove_dir_all(layout.sled()).expect("removed");
    let chmod = std::process::Command::new("chmod").args(["--recursive", "a+rX"]).arg(dir.path()).status();
    assert!(chmod.expect("chmod").success());
    let _store = Store::open(dir.path(), Options::default()).expect("a store");
    assert_eq!(layout.readers(&secret), Readers::Granted);
}

#[test]
fn what_is_private_and_cannot_be_removed_is_an_error_whatever_its_mode_says() {
    let (dir, store) = store();
    let target = target("a/private");
    store.mark_private(&target).expect("marked");
    let layer = put(&store, 1, 1000);
    store.link(&target, &layer);
    let (manifest, bytes) = manifest_of(&layer);
    store.put_manifest(&target, &manifest, &bytes, Some(&"1".parse().expect("a tag"))).expect("stored");
    // As on a file system that keeps no modes.
    std::fs::set_permissions(path_of(&dir, &layer), std::fs::Permissions::from_mode(0o644)).expect("widened");
    let kept = Kept::new(&path_of(&dir, &layer));
    assert!(store.evict(Wanted::Private).is_err());
    drop(kept);
}

#[test]
fn a_kill_gives_no_imported_image_what_another_one_brought() {
    let dir = tempfile::tempdir().expect("a directory");
    let (company, evil) = (target("company/secret"), target("evil/x"));
    let layer = {
        let store = Store::open(dir.path(), Options::default()).expect("a store");
        let layer = put(&store, 1, 1000);
        store.link_imported(&company, &layer, true);
        let (manifest, bytes) = manifest_of(&layer);
        for target in [&company, &evil] {
            let readers = crate::permissions::Readers::Local;
            store.put_manifest_for(target, &manifest, &bytes, None, (readers, Word::Layout)).expect("stored");
        }
        store.flush();
        layer
    };
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    assert!(store.is_linked(&company, &layer) && !store.is_linked(&evil, &layer));
}

#[test]
fn what_was_imported_for_a_repository_is_not_public_with_it() {
    let (dir, store) = store();
    let (private, app) = (target("org/private"), target("me/app"));
    store.mark_private(&private).expect("marked");
    let [secret, own] = [1, 2].map(|value| put(&store, value, 1000));
    store.link(&private, &secret);
    store.mark_private(&app).expect("marked");
    store.link_imported(&app, &secret, false);
    store.link(&app, &own);
    store.mark_public(&app).expect("marked");
    let mode = |digest| std::fs::metadata(path_of(&dir, digest)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(&own)), (0o600, 0o644));
}
