//! A layer is applied to a directory: nothing outside changes, whatever its names and links say.

#![no_main]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use hubcap_unpack::{Layer, Packing, Target, Whiteouts};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tar::{Builder, EntryType, Header};

#[derive(Debug, Arbitrary)]
struct Case<'a> {
    entries: Vec<Entry<'a>>,
    /// What was there before is applied first.
    before: Vec<Entry<'a>>,
    overlay: bool,
}

#[derive(Debug, Arbitrary)]
struct Entry<'a> {
    kind: u8,
    path: Vec<Part<'a>>,
    link: Vec<Part<'a>>,
    mode: u16,
    data: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Part<'a> {
    A,
    B,
    Up,
    Here,
    Root,
    Outside,
    Secret,
    Gone,
    Opaque,
    Text(&'a str),
}

fuzz_target!(|case: Case| {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["outside/dir", "target", "lower"] {
        fs::create_dir_all(at(name)).expect("made");
    }
    fs::write(at("outside/secret"), "secret").expect("written");
    symlink(at("outside"), at("lower/a")).expect("linked");
    symlink("../outside", at("lower/b")).expect("linked");
    let before = outside(dir.path());
    for entries in [&case.before, &case.entries] {
        fs::write(at("blob"), archive(entries, dir.path())).expect("written");
        let whiteouts = match case.overlay {
            true => Whiteouts::Overlay { lower: vec![at("lower")] },
            false => Whiteouts::Remove,
        };
        let layer = Layer { blob: fs::File::open(at("blob")).expect("there"), packing: Packing::Plain };
        let target = Target { directory: at("target"), whiteouts, devices: true, sync: false };
        let _ = hubcap_unpack::apply(layer, &target, &AtomicBool::new(false));
    }
    assert_eq!(outside(dir.path()), before);
});

/// All that is not the target: paths, modes, owners, links, times of changes, contents.
fn outside(dir: &Path) -> Vec<String> {
    let paths = ["", "outside", "outside/dir", "outside/secret", "lower", "lower/a", "lower/b"];
    let describe = |path: &str| {
        let path = dir.join(path);
        let metadata = path.symlink_metadata().expect("there");
        let (mode, owner, links) = (metadata.mode(), (metadata.uid(), metadata.gid()), metadata.nlink());
        let names: Vec<_> = fs::read_dir(&path)
            .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
            .unwrap_or_default();
        let mut names: Vec<_> = names.into_iter().filter(|name| name != "blob").collect();
        names.sort();
        format!("{path:?} {mode:o} {owner:?} {links} {names:?} {:?}", fs::read(&path).ok())
    };
    paths.into_iter().map(describe).collect()
}

fn archive(entries: &[Entry], dir: &Path) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        let fit = |text: String, field: &mut [u8]| {
            let length = text.len().min(field.len());
            field[..length].copy_from_slice(&text.as_bytes()[..length]);
        };
        fit(text(&entry.path, dir), &mut header.as_old_mut().name);
        fit(text(&entry.link, dir), &mut header.as_old_mut().linkname);
        header.set_entry_type(EntryType::new(b"0123456522115500"[usize::from(entry.kind % 16)]));
        header.set_mode(entry.mode.into());
        header.set_size(entry.data.len() as u64);
        header.set_cksum();
        let _ = tar.append(&header, entry.data);
    }
    tar.into_inner().unwrap_or_default()
}

fn text(parts: &[Part], dir: &Path) -> String {
    let part = |part: &Part| match part {
        Part::A => "a".to_owned(),
        Part::B => "b".to_owned(),
        Part::Up => "..".to_owned(),
        Part::Here => ".".to_owned(),
        Part::Root => String::new(),
        Part::Outside => dir.join("outside").display().to_string(),
        Part::Secret => "secret".to_owned(),
        Part::Gone => ".wh.a".to_owned(),
        Part::Opaque => ".wh..wh..opq".to_owned(),
        Part::Text(text) => (*text).to_owned(),
    };
    parts.iter().map(part).collect::<Vec<_>>().join("/")
}
