use std::time::{Duration, UNIX_EPOCH};

use hubcap_oci::{Algorithm, Descriptor, Registry, Target, media_type};

use super::*;

const NOTHING: Policy =
    Policy { unneeded: UnneededPolicy::Keep, remove_private: false, used_since: None, bytes: 0, entry: 0 };

fn content(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// An image of that name with contents, last used at a time.
fn image(name: &str, used: u64, contents: &[&str]) -> Image {
    let entry = Entry {
        target: Target {
            registry: Registry::docker_hub(),
            repository: format!("library/{name}").parse().expect("a name"),
        },
        tag: Some("tag".parse().expect("a tag")),
        descriptor: Descriptor::new(media_type::OCI_MANIFEST, content(name), 1),
        private: false,
        wrapper: None,
        subject: None,
    };
    let own = contents.iter().map(|name| content(name)).collect();
    Image {
        entry,
        own,
        children: Vec::new(),
        used: at(used),
        is_pinned: false,
        is_private: false,
        is_unneeded: false,
        in_flight: false,
    }
}

fn child(platform: &str, used: u64, contents: &[&str]) -> Child {
    let contents = contents.iter().map(|name| content(name)).collect();
    Child { platform: platform.into(), contents, used: at(used) }
}

fn unneeded(name: &str, used: u64) -> Unneeded {
    Unneeded { digest: content(name), used: at(used), in_flight: false }
}

/// A list of referrers, which are these.
fn list(subject: &str, used: u64, contents: &[&str]) -> Image {
    let mut list = image("of", used, contents);
    (list.entry.tag, list.entry.subject) = (None, Some(content(subject)));
    list
}

/// A store in which every content has ten bytes.
fn store(images: Vec<Image>, unneeded: Vec<Unneeded>) -> Survey {
    let children = images.iter().flat_map(|image| &image.children).flat_map(|child| &child.contents);
    let own = images.iter().flat_map(|image| &image.own);
    let all = own.chain(children).copied().chain(unneeded.iter().map(|content| content.digest));
    let sizes = all.map(|digest| (digest, 10)).collect();
    Survey { images, unneeded, damaged: Vec::new(), private: Vec::new(), sizes }
}

/// What goes: names without registry and tag, bytes, reasons.
fn going(survey: Survey, policy: Policy) -> Vec<(String, u64, Reason)> {
    let short = |name: &str| name.replace("docker.io/library/", "").replace(":tag", "");
    plan(survey, policy).into_iter().map(|one| (short(&one.name), one.bytes, one.reason)).collect()
}

fn least_recently_used(name: &str, bytes: u64) -> (String, u64, Reason) {
    (name.into(), bytes, Reason::LeastRecentlyUsed)
}

#[test]
fn the_least_recently_used_images_go_until_enough_is_freed() {
    let images = || vec![image("new", 9, &["n"]), image("old", 1, &["o"]), image("mid", 5, &["m"])];
    let freed = |bytes| going(store(images(), vec![]), Policy { bytes, ..NOTHING });
    assert_eq!(freed(0), []);
    assert_eq!(freed(1), [least_recently_used("old", 10)]);
    assert_eq!(freed(11), [least_recently_used("old", 10), least_recently_used("mid", 10)]);
}

#[test]
fn a_content_is_freed_with_the_last_image_that_needs_it() {
    let images = vec![image("a", 1, &["a", "shared"]), image("b", 2, &["b", "shared"])];
    let removals = plan(store(images, vec![]), Policy { bytes: u64::MAX, ..NOTHING });
    let freed: Vec<_> = removals.iter().map(|one| (one.bytes, one.contents.clone())).collect();
    assert_eq!(freed, [(10, vec![content("a")]), (20, vec![content("b"), content("shared")])]);
}

#[test]
fn a_pinned_image_stays_whatever_room_is_needed() {
    let mut pinned = image("pinned", 1, &["p"]);
    pinned.is_pinned = true;
    let survey = store(vec![pinned, image("b", 2, &["b"])], vec![]);
    let policy = Policy { bytes: u64::MAX, used_since: Some(at(9)), ..NOTHING };
    assert_eq!(going(survey, policy), [("b".into(), 10, Reason::NotUsed)]);
}

#[test]
fn an_image_of_which_something_is_being_written_stays() {
    let mut writing = image("a", 1, &["a"]);
    (writing.in_flight, writing.is_private) = (true, true);
    let mut orphan = unneeded("o", 1);
    orphan.in_flight = true;
    let policy = Policy {
        unneeded: UnneededPolicy::First,
        remove_private: true,
        used_since: Some(at(9)),
        bytes: u64::MAX,
        entry: 0,
    };
    assert_eq!(going(store(vec![writing], vec![orphan]), policy), []);
}

#[test]
fn contents_that_no_image_needs_go_in_turn() {
    let survey = store(vec![image("a", 1, &["a"]), image("b", 3, &["b"])], vec![unneeded("o", 2)]);
    let policy = Policy { unneeded: UnneededPolicy::InTurn, bytes: 20, ..NOTHING };
    let orphan = (content("o").to_string(), 10, Reason::Unneeded);
    assert_eq!(going(survey, policy), [least_recently_used("a", 10), orphan]);
}

#[test]
fn contents_that_no_image_needs_go_before_images() {
    let survey = store(vec![image("a", 1, &["a"])], vec![unneeded("o", 2), unneeded("p", 3)]);
    let policy = Policy { unneeded: UnneededPolicy::First, bytes: 15, ..NOTHING };
    let orphans = ["o", "p"].map(|name| (content(name).to_string(), 10, Reason::Unneeded));
    assert_eq!(going(survey, policy), orphans);
}

#[test]
fn what_is_in_quarantine_counts_as_freed() {
    let damaged = Removal {
        name: "sha256-d".into(),
        bytes: 10,
        used: at(5),
        reason: Reason::Damaged,
        entry: None,
        contents: vec![],
    };
    let survey = Survey { damaged: vec![damaged], ..store(vec![image("a", 1, &["a"])], vec![]) };
    let policy = Policy { bytes: 10, ..NOTHING };
    assert_eq!(going(survey, policy), [("sha256-d".into(), 10, Reason::Damaged)]);
}

#[test]
fn a_private_image_goes_even_when_it_is_pinned() {
    let mut private = image("private", 9, &["p", "shared"]);
    (private.is_private, private.is_pinned) = (true, true);
    let survey = || store(vec![image("public", 1, &["shared"])], vec![]);
    let mut with = survey();
    with.images.push(private);
    with.sizes.insert(content("p"), 10);
    let policy = Policy { remove_private: true, ..NOTHING };
    assert_eq!(going(with, policy), [("private".into(), 10, Reason::Private)]);
    assert_eq!(going(survey(), policy), []);
}

#[test]
fn an_image_that_was_not_used_goes() {
    let survey = store(vec![image("a", 1, &["a"]), image("b", 5, &["b"])], vec![]);
    let policy = Policy { used_since: Some(at(5)), ..NOTHING };
    assert_eq!(going(survey, policy), [("a".into(), 10, Reason::NotUsed)]);
}

#[test]
fn an_index_loses_its_manifests_that_were_not_used() {
    let mut index = image("index", 7, &["top"]);
    index.children =
        vec![child("linux/amd64", 7, &["x", "shared"]), child("linux/arm64", 1, &["y", "shared"])];
    let policy = Policy { used_since: Some(at(5)), ..NOTHING };
    let gone = ("index (linux/arm64)".into(), 10, Reason::NotUsed);
    assert_eq!(going(store(vec![index], vec![]), policy), [gone]);
}

#[test]
fn an_index_of_which_only_the_tag_was_asked_for_keeps_its_manifests() {
    let mut index = image("index", 7, &["top"]);
    index.children = vec![child("linux/amd64", 2, &["x"]), child("linux/arm64", 1, &["y"])];
    let policy = Policy { used_since: Some(at(5)), ..NOTHING };
    assert_eq!(going(store(vec![index], vec![]), policy), []);
}

#[test]
fn a_list_of_referrers_goes_first_when_no_image_has_its_subject() {
    let first = Policy { unneeded: UnneededPolicy::First, ..NOTHING };
    let kept = list("subject", 1, &["list", "signature"]);
    assert!(plan(store(vec![kept], vec![]), first).is_empty());
    let mut unneeded = list("subject", 1, &["list", "signature"]);
    unneeded.is_unneeded = true;
    let removals = plan(store(vec![unneeded], vec![]), first);
    assert_eq!((removals[0].reason, removals[0].bytes), (Reason::Unneeded, 20));
    assert!(removals[0].name.ends_with(&format!("@{} (referrers)", content("subject"))));
}

#[test]
fn what_two_lists_share_stays_until_the_last_of_them_goes() {
    let lists = vec![list("a", 1, &["empty"]), list("b", 5, &["empty"])];
    let used_since = Policy { used_since: Some(at(3)), ..NOTHING };
    let removals = plan(store(lists, vec![]), used_since);
    assert_eq!(removals.len(), 1);
    assert!(removals[0].contents.is_empty());
}

#[test]
fn what_is_private_goes_whoever_names_it() {
    // A public image names "secret", which nobody is known to give to everybody, and "orphan" has no image.
    let survey = Survey {
        private: vec![unneeded("orphan", 1), unneeded("secret", 1)],
        ..store(vec![image("public", 2, &["public", "secret"])], vec![unneeded("orphan", 1)])
    };
    let removals = plan(survey, Policy { remove_private: true, ..NOTHING });
    let gone: Vec<_> = removals.iter().map(|one| (one.contents.clone(), one.bytes, one.reason)).collect();
    let one = |name: &str| (vec![content(name)], 10, Reason::Private);
    assert_eq!(gone, [one("orphan"), one("secret")]);
}

#[test]
fn an_image_counts_what_its_entry_takes() {
    let images = ["a", "b", "c"].iter().zip(1..).map(|(name, used)| image(name, used, &["shared"])).collect();
    let policy = Policy { bytes: 150, entry: 100, ..NOTHING };
    assert_eq!(going(store(images, vec![]), policy).len(), 2);
}
