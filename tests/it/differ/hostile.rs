//! Layers that want to reach what is outside of their directory, and those that want all memory or all time.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink as link};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use hubcap_unpack::{Applied, Error, Layer, Packing, Target, Whiteouts};

use super::entry::{Entry, archive, device, directory, file, hard_link, symlink};
use super::tree::{Tree, walk};

/// A target, and something outside that nothing may touch.
struct Place {
    dir: tempfile::TempDir,
    before: Tree,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for path in ["outside/dir", "target", "lower"] {
            std::fs::create_dir_all(dir.path().join(path)).expect("made");
        }
        let secret = dir.path().join("outside/secret");
        std::fs::write(&secret, "secret").expect("written");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("set");
        link("secret", dir.path().join("outside/link")).expect("linked");
        let before = walk(&dir.path().join("outside"));
        Self { dir, before }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn apply(&self, bytes: &[u8], whiteouts: Whiteouts) -> Result<Applied, Error> {
        let blob = self.dir.path().join("blob");
        std::fs::write(&blob, bytes).expect("written");
        let blob = std::fs::File::open(blob).expect("there");
        let target = Target { directory: self.target(), whiteouts, devices: true, sync: false };
        hubcap_unpack::apply(Layer { blob, packing: Packing::Packed }, &target, &AtomicBool::new(false))
    }

    fn assert_untouched(&self, about: &str) {
        assert_eq!(walk(&self.outside()), self.before, "{about}");
        let links = std::fs::metadata(self.outside().join("secret")).expect("there").nlink();
        assert_eq!(links, 1, "{about}: the secret has another name now");
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["blob", "lower", "outside", "target"], "{about}");
    }
}

/// Applies a layer in each way. It may be refused; nothing outside changes. `outside` in a name or link stands for the path.
fn assert_contained(about: &str, entries: &[Entry]) {
    for overlay in [false, true] {
        let place = Place::new();
        let lower = vec![place.dir.path().join("lower")];
        let whiteouts = if overlay { Whiteouts::Overlay { lower } } else { Whiteouts::Remove };
        let outside = place.outside().display().to_string();
        let replace = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("OUTSIDE", &outside).into_bytes();
        let long = |key: &str, value: Vec<u8>| (key.to_owned(), value);
        let entries = entries.iter().map(|entry| {
            let mut entry = entry.clone();
            // Records, because the paths are longer than a header's field may be.
            entry.records.push(long("path", replace(&entry.name)));
            if !entry.link.is_empty() {
                entry.records.push(long("linkpath", replace(&entry.link)));
            }
            entry
        });
        let result = place.apply(&archive(&entries.collect::<Vec<_>>()), whiteouts);
        place.assert_untouched(&format!("{about}, overlay {overlay}: {result:?}"));
    }
}

#[test]
fn a_path_that_goes_up_stays_within() {
    assert_contained("..", &[file("../outside/new", "x"), file("../../outside/secret", "x")]);
    assert_contained("in the middle", &[directory("a"), file("a/../../outside/secret", "x")]);
    assert_contained("absolute", &[file("OUTSIDE/secret", "x"), directory("OUTSIDE/dir").mode(0o777)]);
}

#[test]
fn cve_2014_6407_a_symlink_leads_no_later_entry_outside() {
    for target in ["OUTSIDE", "../outside", "../../../../../../../../../..OUTSIDE", "/proc/self/rootOUTSIDE"]
    {
        assert_contained(
            target,
            &[
                symlink("link", target),
                file("link/secret", "overwritten"),
                file("link/new", "x"),
                directory("link/dir").mode(0o777).owner(1, 1),
                symlink("link/another", "x"),
                device(b'6', "link/fifo", 0, 0),
            ],
        );
        assert_contained(target, &[symlink("link", target), directory("link").mode(0o777).owner(1, 1)]);
    }
    let chain = [symlink("a", "b"), symlink("b", "../c"), symlink("c", "OUTSIDE"), file("a/secret", "x")];
    assert_contained("a chain", &chain);
}

#[test]
fn cve_2014_6407_a_hard_link_names_nothing_outside() {
    for target in ["OUTSIDE/secret", "../outside/secret", "../../outside/../outside/secret"] {
        assert_contained(target, &[hard_link("hard", target), file("hard", "overwritten")]);
    }
    let through = [symlink("link", "OUTSIDE"), hard_link("hard", "link/secret").mode(0o777).owner(1, 1)];
    assert_contained("through a symlink", &through);
    assert_contained(
        "of a symlink",
        &[symlink("link", "OUTSIDE/secret"), hard_link("hard", "link").mode(0o777)],
    );
    assert_contained(
        "of the parent",
        &[hard_link("hard", ".."), hard_link("hard", "a/.."), hard_link("hard", "/")],
    );
}

#[test]
fn cve_2018_20990_a_file_replaces_a_link_instead_of_writing_through_it() {
    assert_contained(
        "a symlink",
        &[symlink("link", "OUTSIDE/secret"), file("link", "overwritten").mode(0o777)],
    );
    assert_contained("a hard link", &[hard_link("hard", "OUTSIDE/secret"), file("hard", "overwritten")]);
}

#[test]
fn cve_2021_32803_a_directory_that_became_a_symlink_is_not_remembered() {
    for again in ["dir", "./dir/", "dir/.", "x/../dir"] {
        assert_contained(
            again,
            &[
                directory("dir"),
                file("dir/before", "x"),
                symlink(again, "OUTSIDE"),
                file("dir/secret", "overwritten"),
                directory("dir/dir").mode(0o777),
            ],
        );
    }
}

#[test]
fn cve_2021_37701_a_parent_of_a_remembered_directory_may_become_a_symlink() {
    assert_contained(
        "a parent",
        &[
            directory("a/dir"),
            file("a/dir/before", "x"),
            symlink("a", "OUTSIDE"),
            file("a/dir/after", "x"),
            file("a/secret", "x"),
        ],
    );
    assert_contained(
        "a link that changes",
        &[
            directory("inside/dir"),
            symlink("link", "inside"),
            file("link/dir/before", "x"),
            symlink("link", "OUTSIDE"),
            file("link/dir/after", "x"),
        ],
    );
}

#[test]
fn a_whiteout_removes_nothing_outside() {
    assert_contained("by a symlink", &[symlink("link", "OUTSIDE"), file("link/.wh.secret", "")]);
    assert_contained("opaque", &[symlink("link", "OUTSIDE"), file("link/.wh..wh..opq", "")]);
    assert_contained("of a symlink", &[symlink("link", "OUTSIDE/dir"), file(".wh.link", "")]);
    for name in [".wh...", ".wh..", ".wh.", "../outside/.wh.secret", "a/.wh..."] {
        assert_contained(name, &[directory("a"), file(name, "")]);
    }
}

#[test]
fn metadata_does_not_go_through_a_symlink() {
    let attribute = |entry: Entry| entry.attribute("user.a", "b").attribute("trusted.a", "b");
    assert_contained("attributes", &[attribute(symlink("link", "OUTSIDE/secret").mode(0o777).owner(1, 1))]);
    let times = [directory("dir").modified(1), symlink("dir", "OUTSIDE/dir")];
    assert_contained("the times of a directory at the end", &times);
    let deeper = [directory("a/dir").modified(1), symlink("a", "OUTSIDE")];
    assert_contained("the times of a directory below", &deeper);
}

#[test]
fn a_layer_cannot_redirect_overlayfs() {
    let place = Place::new();
    let redirected = directory("dir")
        .attribute("trusted.overlay.redirect", "/etc")
        .attribute("trusted.overlay.opaque", "y");
    place.apply(&archive(&[redirected]), Whiteouts::Overlay { lower: Vec::new() }).expect("applied");
    let mut names = [0; 256];
    let length = rustix::fs::llistxattr(place.target().join("dir"), &mut names[..]).expect("a list");
    assert_eq!(length, 0, "{:?}", names.escape_ascii().to_string());
}

#[test]
fn cve_2025_62518_data_is_as_long_as_its_record_says() {
    let place = Place::new();
    let nested = archive(&[file("smuggled", "x")]);
    let records = Entry { data: Vec::new(), ..file("outer", "") }.record("size", nested.len().to_string());
    let mut bytes = archive(&[records]);
    // The header says that there is no data; the record says that there is.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(&nested);
    bytes.extend(archive(&[file("after", "x")]));
    place.apply(&bytes, Whiteouts::Remove).expect("applied");
    assert_eq!(std::fs::read(place.target().join("outer")).expect("there"), nested);
    assert!(!place.target().join("smuggled").exists());
    assert!(place.target().join("after").exists());
}

#[test]
fn cve_2022_2879_a_header_of_any_size_does_not_take_memory() {
    let header = Entry::new(b'x', "x").header(8 << 30);
    let error = Place::new().apply(&header, Whiteouts::Remove).expect_err("refused");
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[test]
fn cve_2025_58183_a_sparse_map_of_any_size_does_not_take_memory() {
    let entry =
        file("sparse", vec![b'1'; 3 << 20]).record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0");
    let error = Place::new().apply(&archive(&[entry]), Whiteouts::Remove).expect_err("refused");
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[test]
fn symlinks_in_a_circle_are_refused() {
    let place = Place::new();
    let circle = archive(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "x")]);
    let error = place.apply(&circle, Whiteouts::Remove).expect_err("refused");
    assert!(error.to_string().contains("a"), "{error}");
}

#[test]
fn cve_2021_29136_the_root_is_never_replaced() {
    for name in [".", "./", "/", "..", "a/..", "", "//.."] {
        assert_contained(
            name,
            &[symlink(name, "OUTSIDE"), file("secret", "overwritten"), file("dir/new", "x")],
        );
        assert_contained(
            name,
            &[hard_link(name, "OUTSIDE/secret"), file(name, "x"), device(b'6', name, 0, 0)],
        );
    }
}

#[test]
fn cve_2025_4517_a_path_that_is_too_long_is_not_cut() {
    // Each symlink leads 16 levels down by a short name, so that 16 of them lead beyond what a path may have.
    let component = "d".repeat(247);
    let (mut entries, mut path) = (Vec::new(), String::new());
    for letter in "abcdefghijklmnop".chars() {
        entries.push(directory(&format!("{path}{component}")));
        entries.push(symlink(&format!("{path}{letter}"), &component));
        path += &format!("{letter}/");
    }
    entries.push(symlink(&format!("{path}up"), &"../".repeat(16)));
    entries.push(symlink("escape", &format!("{path}up/../outside")));
    entries.extend([file("escape/secret", "overwritten"), hard_link("hard", "escape/secret")]);
    assert_contained("a long path", &entries);
}

#[test]
fn cve_2025_45582_a_symlink_of_an_earlier_layer_leads_nowhere_else() {
    let place = Place::new();
    let outside = place.outside().display().to_string();
    let links =
        [symlink("link", &outside), symlink("up", "../outside"), symlink("secret", "../outside/secret")];
    let second = [
        file("link/secret", "overwritten"),
        directory("up/dir").mode(0o777).owner(1, 1),
        file("up/.wh.secret", ""),
        file("up/.wh..wh..opq", ""),
        hard_link("hard", "secret"),
        file("secret", "overwritten"),
    ];
    place.apply(&archive(&links), Whiteouts::Remove).expect("applied");
    let result = place.apply(&archive(&second), Whiteouts::Remove);
    place.assert_untouched(&format!("in one directory: {result:?}"));
}

#[test]
fn a_lower_layers_symlink_gives_no_metadata_from_outside() {
    let place = Place::new();
    std::fs::set_permissions(place.outside().join("dir"), std::fs::Permissions::from_mode(0o711))
        .expect("set");
    let lower = place.dir.path().join("lower");
    for (name, target) in
        [("a", place.outside()), ("b", "../outside".into()), ("c", "../../../../../..".into())]
    {
        link(target, lower.join(name)).expect("linked");
    }
    let entries = ["a", "b", "c"].map(|name| file(&format!("{name}/dir/x"), "x"));
    let applied = place.apply(&archive(&entries), Whiteouts::Overlay { lower: vec![lower] });
    applied.expect("applied");
    for name in ["a", "b", "c"] {
        let mode = std::fs::metadata(place.target().join(name).join("dir")).expect("made").mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
    }
}

#[test]
fn cve_2025_47290_a_directory_that_another_process_swaps_leads_nowhere() {
    let place = Place::new();
    let target = place.target();
    std::fs::create_dir(target.join("dir")).expect("made");
    link(place.outside(), place.dir.path().join("swap")).expect("linked");
    // Where the layer goes and where it must not are exchanged all the time.
    let swaps = AtomicBool::new(true);
    let entries: Vec<_> = (0..2000)
        .flat_map(|at| {
            [file(&format!("dir/new{at}"), "x"), symlink("other", "x"), file("dir/secret", "overwritten")]
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (target.join("dir"), place.dir.path().join("swap"));
            while swaps.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags);
            }
        });
        for whiteouts in [Whiteouts::Remove, Whiteouts::Overlay { lower: Vec::new() }] {
            let _ = place.apply(&archive(&entries), whiteouts);
        }
        swaps.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    let swap = place.dir.path().join("swap");
    if swap.is_symlink() { std::fs::remove_file(&swap) } else { std::fs::remove_dir_all(&swap) }
        .expect("removed");
    place.assert_untouched("swapped");
}

#[test]
fn a_fifo_or_a_device_stops_nothing() {
    let place = Place::new();
    let entries = [
        device(b'6', "fifo", 0, 0),
        directory("fifo"),
        file("fifo/x", "x"),
        device(b'6', "other", 0, 0),
        symlink("link", "other"),
        file("other", "x"),
        device(b'3', "tty", 5, 0),
        hard_link("tty-too", "tty").mode(0o600).owner(1, 1),
        directory("tty"),
        device(b'6', "dir/fifo", 0, 0),
        file("dir/.wh..wh..opq", ""),
        device(b'6', "last", 0, 0),
    ];
    place.apply(&archive(&entries), Whiteouts::Remove).expect("applied");
    let through = place.apply(&archive(&[symlink("l", "last"), file("l/x", "x")]), Whiteouts::Remove);
    assert!(through.expect_err("refused").to_string().contains("l"));
}

/// Lets this process open one directory for each level.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");
}

#[test]
fn a_tree_as_deep_as_a_path_may_be_is_made_and_removed() {
    raise_open_files();
    let deep = |component: &str| {
        file("short", "x").record("path", component.repeat(4000 / component.len()) + "file")
    };
    let place = Place::new();
    let entries = [deep("d/"), directory("e/e"), file("e/e/e", "x"), deep("f/"), file("d", "instead")];
    place.apply(&archive(&entries), Whiteouts::Remove).expect("applied");
    assert_eq!(std::fs::read(place.target().join("d")).expect("a file"), b"instead");
    // All that the layer has not made goes.
    place.apply(&archive(&[file("new", "x"), file(".wh..wh..opq", "")]), Whiteouts::Remove).expect("applied");
    let left: Vec<_> = std::fs::read_dir(place.target()).expect("readable").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_directory_that_a_layer_has_made_may_be_deep_when_it_is_emptied() {
    raise_open_files();
    let place = Place::new();
    let (mut path, mut entries) = (String::new(), Vec::new());
    while path.len() < 4000 {
        path += "d/";
        entries.push(directory("d").record("path", path.trim_end_matches('/')));
    }
    entries.push(file(".wh..wh..opq", ""));
    place.apply(&archive(&entries), Whiteouts::Remove).expect("applied");
    assert!(place.target().join("d/d/d/d").is_dir());
}

#[test]
fn a_tree_gets_no_deeper_than_a_path_may_be() {
    let at = |path: String| directory("d").record("path", path);
    // Each step is from a directory that is open.
    let steps: Vec<_> = (1..2500).map(|depth| at("d/".repeat(depth) + "d")).collect();
    let by_link = vec![
        at("d/".repeat(1500)),
        symlink("s", "x").record("linkpath", "d/".repeat(1500)),
        at("s/".to_owned() + &"d/".repeat(1500)),
    ];
    for entries in [steps, by_link] {
        let error =
            Place::new().apply(&archive(&entries), Whiteouts::Remove).expect_err("refused").to_string();
        assert!(error.contains("name too long"), "{error}");
    }
}

#[test]
fn a_path_of_a_mebibyte_takes_no_time() {
    let start = std::time::Instant::now();
    for path in ["a/".repeat(500_000) + "x", "../".repeat(300_000) + "x", "a/../".repeat(200_000) + "x"] {
        let place = Place::new();
        for flag in [b'0', b'5', b'2', b'1'] {
            let entry = Entry { flag, ..file("short", "") }.record("path", &path);
            let entry = if matches!(flag, b'1' | b'2') {
                Entry { records: Vec::new(), ..entry }.record("linkpath", &path)
            } else {
                entry
            };
            let _ = place.apply(&archive(&[entry]), Whiteouts::Remove);
        }
    }
    assert!(start.elapsed() < crate::support::PATIENCE, "{:?}", start.elapsed());
}
