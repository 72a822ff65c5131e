//! Each layer gives the tree that containerd's own differ makes of it.

use super::Differ;
use super::containerd::{Containerd, Packed, Version, image};
use super::entry::{Entry, Format, LONG_AGO, archive, device, directory, file, global, hard_link, symlink};
use super::tree::assert_same;
use crate::support::programs::program;

/// A capability of a file: net_raw, permitted and effective.
pub(super) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Imports an image of these layers into two containerds, and compares what they unpack.
pub(super) fn assert_alike(version: Version, layers: &[(Vec<u8>, Packed)]) {
    let dir = tempfile::tempdir().expect("a directory");
    let image = image(dir.path(), "made", layers);
    let differ = Differ::start(dir.path());
    let Some(ours) = Containerd::start(&dir.path().join("ours"), version, Some(&differ)) else { return };
    let theirs = Containerd::start(&dir.path().join("theirs"), version, None).expect("as the other");
    theirs.import(&image).expect("containerd takes it");
    ours.import(&image).unwrap_or_else(|error| panic!("{error}\n{}", differ.log()));
    assert_eq!(differ.applied(), layers.len(), "{}", differ.log());
    let snapshots = theirs.snapshots();
    assert_eq!((ours.snapshots(), snapshots.len()), (snapshots.clone(), layers.len()));
    for number in snapshots {
        assert_same(&ours.snapshot(number), &theirs.snapshot(number), &format!("layer {number}"));
    }
}

/// The same for layers of these entries, each packed in another way.
fn assert_alike_of(layers: &[Vec<Entry>]) {
    let packed = [Packed::Gzip, Packed::Zstd, Packed::Plain].into_iter().cycle();
    let layers: Vec<_> = layers.iter().map(|entries| archive(entries)).zip(packed).collect();
    assert_alike(Version::Sid, &layers);
}

#[test]
fn every_kind_of_entry_is_made_as_containerd_makes_it() {
    assert_alike_of(&[every_kind()]);
}

#[test]
fn containerd_1_7_makes_the_same_of_every_kind_of_entry() {
    assert_alike(Version::Trixie, &[(archive(&every_kind()), Packed::Gzip)]);
}

fn every_kind() -> Vec<Entry> {
    vec![
        directory("./").mode(0o700),
        directory("dir").mode(0o1777).owner(3, 4),
        directory("dir/setgid/").mode(0o2775).owner(5, 6),
        file("dir/setgid/file", "inherits no group"),
        file("file", "text").mode(0o640).owner(1000, 1001),
        file("empty", ""),
        file("large", vec![7; 3 << 20]),
        file("setuid", "s").mode(0o4755).owner(1, 2),
        file("setgid", "s").mode(0o2755).owner(1, 2),
        file("nobody", "").mode(0),
        symlink("link", "file").owner(7, 8),
        symlink("absolute", "/etc/passwd"),
        symlink("dangling", "../../nowhere"),
        hard_link("hard", "file").mode(0o640).owner(1000, 1001),
        hard_link("hard-changes-all", "empty").mode(0o600).owner(9, 9).modified(LONG_AGO + 5),
        hard_link("hard-to-symlink", "link"),
        hard_link("dir/hard", "./dir/../hard"),
        device(b'3', "char", 1, 3).mode(0o666),
        device(b'4', "block", 7, 300).owner(0, 6),
        device(b'3', "zero", 0, 0),
        device(b'6', "fifo", 0, 0).mode(0o600),
        Entry::new(0, "old-directory/").format(Format::V7).mode(0o750),
        Entry { data: b"v7".to_vec(), ..Entry::new(0, "old-file").format(Format::V7) },
    ]
}

#[test]
fn metadata_beyond_the_header_is_set_as_containerd_sets_it() {
    let long = format!("long/{}/{}", "d".repeat(200), "f".repeat(250));
    assert_alike_of(&[vec![
        file("capable", "x").attribute("security.capability", CAPABILITY).mode(0o755).owner(3, 3),
        hard_link("incapable", "capable").mode(0o755),
        file("attributes", "x").attribute("user.empty", "").attribute("user.binary", b"\0\n="),
        directory("attributes-of-a-directory").attribute("user.a", "b"),
        file("refused", "x").attribute("trusted.overlay.opaque", "y").attribute("trusted.a", "b"),
        symlink("link", "attributes").attribute("user.a", "b"),
        device(b'6', "fifo", 0, 0).attribute("user.a", "b"),
        file("nanoseconds", "x").record("mtime", "1400000000.123456789").record("atime", "1300000000.5"),
        file("before-1970", "x").record("mtime", "-1.5"),
        file("before-1970-binary", "x").format(Format::Gnu).modified(-5),
        file("after-2262", "x").record("mtime", "9300000000"),
        directory("old-directory").modified(1),
        file("old-directory/new", "x"),
        file("large-owner", "x").owner(3_000_000_000, 4_000_000_000),
        file("owner-by-record", "x").record("uid", "2000000000").record("gid", "2000000001"),
        file("owner-cut", "x").record("uid", "4294967297").record("gid", "-1"),
        file("short", "x").record("path", &long),
        symlink("long-link", "x").record("linkpath", "t/".repeat(400)),
        Entry {
            data: [b"gnu/".to_vec(), vec![b'n'; 150], vec![0]].concat(),
            ..Entry::new(b'L', "././@LongLink")
        }
        .format(Format::Gnu),
        file("cut", "long name").format(Format::Gnu),
        file("empty-record", "x").record("path", "").record("uid", ""),
        global("nothing/x"),
        file("after-global", "x"),
        file("schily", "x").record("SCHILY.dev", "1").record("comment", "none"),
    ]]);
}

#[test]
fn sparse_files_have_the_bytes_that_containerd_gives_them() {
    let sparse = |name: &str, data: &[u8]| {
        file(name, data).record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0")
    };
    let mut map = b"2\n0\n3\n100000\n4\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abcdefg");
    assert_alike_of(&[vec![
        sparse("GNUSparseFile.0/one", &map)
            .record("GNU.sparse.name", "one")
            .record("GNU.sparse.realsize", "200000"),
        sparse("all-hole", &[b"0\n".to_vec(), vec![0; 510]].concat())
            .record("GNU.sparse.realsize", "1000000"),
        file("map", "abcdefg")
            .record("GNU.sparse.map", "5,3,4096,4")
            .record("GNU.sparse.numblocks", "2")
            .record("GNU.sparse.size", "5000"),
        file("oldest", "abcdefg")
            .record("GNU.sparse.size", "5000")
            .record("GNU.sparse.numblocks", "2")
            .record("GNU.sparse.offset", "5")
            .record("GNU.sparse.numbytes", "3")
            .record("GNU.sparse.offset", "4096")
            .record("GNU.sparse.numbytes", "4"),
        file("unknown-version", "whole").record("GNU.sparse.major", "9").record("GNU.sparse.minor", "0"),
    ]]);
}

#[test]
fn paths_lead_where_containerd_leads_them() {
    assert_alike_of(&[vec![
        directory("usr/lib").mode(0o711),
        symlink("lib", "usr/lib"),
        file("lib/a", "through a relative link"),
        symlink("lib64", "/usr/lib"),
        file("lib64/b", "through an absolute link"),
        symlink("usr/up", "../../../usr/lib"),
        file("usr/up/c", "through a link that goes above the root"),
        symlink("chain", "lib64/deep"),
        file("chain/d", "through links to what is not there yet"),
        file("/absolute/e", "x"),
        file("../../above/f", "x"),
        file("./a/./b//../g", "x"),
        hard_link("linked", "/lib/a"),
        hard_link("../linked-too", "lib64/../lib/b"),
        file("implicit/parents/of/h", "x"),
        directory("implicit/parents").mode(0o700).owner(1, 1),
        directory("lib64/new"),
        directory("lib").mode(0o700),
        file("lib/i", "the link is a directory now"),
    ]]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_as_in_containerd() {
    assert_alike_of(&[vec![
        file("file", "first"),
        file("file", "second").mode(0o600),
        directory("dir"),
        file("dir/x", "x"),
        file("dir", "a file instead"),
        file("other", "x"),
        directory("other"),
        file("other/y", "y"),
        symlink("link", "other"),
        file("link", "not through the link"),
        file("tree/with/more/z", "z"),
        symlink("tree", "other"),
        file("tree/through", "x"),
        directory("merged").mode(0o700),
        file("merged/kept", "x"),
        directory("merged").mode(0o755).owner(4, 4),
        file("linked", "x"),
        hard_link("again", "linked"),
        file("linked", "no longer the same inode"),
        file("removed", "x"),
        global("removed"),
    ]]);
}

#[test]
fn whiteouts_of_a_first_layer_remove_as_in_containerd() {
    assert_alike_of(&[vec![
        directory("dir"),
        file("dir/listed", "x"),
        file("dir/implicit/file", "x"),
        file("gone", "x"),
        file("tree/of/gone", "x"),
        file(".wh.gone", ""),
        file(".wh.tree", ""),
        file(".wh.never-there", ""),
        file("dir/.wh..wh..opq", ""),
        file("made/by/.wh.nothing", ""),
        file(".wh..wh.plnk", ""),
        file("gone", "back"),
    ]]);
}

#[test]
fn whiteouts_of_a_later_layer_are_those_of_overlayfs() {
    assert_alike_of(&[
        vec![
            directory("dir").mode(0o750).owner(3, 4).attribute("user.a", "b"),
            file("dir/deep/x", "x"),
            directory("sticky").mode(0o1777).modified(5),
            file("sticky/y", "y"),
            file("gone", "x"),
            file("file", "x"),
            symlink("lib", "dir"),
        ],
        vec![
            file(".wh.gone", "").owner(5, 6),
            file("dir/deep/.wh.x", ""),
            file("sticky/new", "its parent is as it was below"),
            file("opaque/.wh..wh..opq", ""),
            file("opaque/z", "z"),
            file(".wh..wh..opq", ""),
            file("lib/file", "a directory here: the link is in the layer below"),
            file("replaced", "x"),
            directory("file"),
            file(".wh.replaced-next", ""),
            file("replaced-next", "after its whiteout"),
            hard_link("hard", "replaced"),
        ],
        vec![
            file("gone/again", "its parent was removed below"),
            file("dir/deep/x/y", "its parent was removed below, too"),
            file("file/in-a-directory", "x"),
            file("sticky/newer", "its parent is as it was two layers below"),
        ],
    ]);
}

#[test]
fn an_archive_may_end_as_early_as_containerd_lets_it() {
    let whole = archive(&[file("file", "text")]);
    let without_zeros = whole[..1024].to_vec();
    let without_padding = whole[..516].to_vec();
    let with_one_block = whole[..1536].to_vec();
    let with_more = [&whole[..], b"bytes behind the end, which the DiffID counts"].concat();
    let layers = [Vec::new(), without_zeros, without_padding, with_one_block, with_more];
    assert_alike(Version::Sid, &layers.map(|bytes| (bytes, Packed::Gzip)));
}

#[test]
fn layers_of_gnu_tar_are_unpacked_as_containerd_unpacks_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let sparse = dir.path().join("sparse");
    let holes = std::fs::File::create(&sparse).expect("a file");
    holes.set_len(50 << 20).expect("a size");
    std::os::unix::fs::FileExt::write_all_at(&holes, b"data", 30 << 20).expect("written");
    let layers = ["gnu", "pax", "ustar", "v7"].map(|format| {
        let tar = dir.path().join(format);
        let mut command = program("tar");
        command
            .args(["--format", format, "--ignore-failed-read", "--mtime=@1234567890", "-C", "/", "-cf"])
            .arg(&tar);
        let trees: &[&str] = if format == "pax" { &["etc", "usr/share/doc"] } else { &["etc"] };
        if format == "v7" {
            // Its names have no room for deep paths.
            command.args(["-C", "/etc", "apt", "default", "init.d"]);
        } else {
            command.args(trees);
        }
        if format == "pax" {
            command.args(["--xattrs", "--sparse", "-C"]).arg(dir.path()).arg("sparse");
        }
        let output = command.output().expect("tar starts");
        // 1 says that a file has changed meanwhile.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
        (std::fs::read(&tar).expect("read"), Packed::Gzip)
    });
    assert!(layers.iter().all(|(bytes, _)| bytes.len() > 10_000));
    assert_alike(Version::Sid, &layers);
}
