//! Names, and where symlinks and hard links lead.

use super::super::containerd::{Snapshotter, Version};
use super::super::entry::{Entry, Format, device, directory, file, gnu_long, hard_link, symlink};
use super::super::pair::Played::{Refused, Same};
use super::{play, play_by};

#[test]
fn symlinks_lead_where_they_lead_containerd() {
    play(|| {
        let deep = || directory("deep/dir");
        let up = "u/".repeat(30) + "u";
        let circle = |links: usize| {
            let link = |at: usize| symlink(&format!("l{at}"), &format!("l{}", at + 1));
            let mut entries: Vec<_> = (0..links).map(link).collect();
            entries.extend([directory(&format!("l{links}")), file("l0/x", "x")]);
            vec![entries]
        };
        vec![
            (
                ".. behind another symlink, in a first component",
                Same,
                vec![vec![deep(), symlink("x", "deep/dir"), symlink("l", "x/../y"), file("l/f", "1")]],
            ),
            (
                ".. behind another symlink, further on",
                Same,
                vec![vec![
                    deep(),
                    symlink("a/x", "/deep/dir"),
                    symlink("a/l", "x/../y"),
                    file("a/l/f", "2"),
                    file("a/l/g/h", "2"),
                ]],
            ),
            (
                ".. in an absolute target",
                Same,
                vec![vec![
                    deep(),
                    symlink("x", "deep/dir"),
                    symlink("l", "/x/../y"),
                    file("l/f", "3"),
                    file("l/g/h", "3"),
                ]],
            ),
            (
                "a symlink behind two others",
                Same,
                vec![vec![
                    directory("deep/c"),
                    symlink("a", "b"),
                    symlink("b", "deep/c"),
                    symlink("deep/c/f", "../z"),
                    file("a/f/g", "4"),
                ]],
            ),
            (
                "a symlink behind two others, of which one is absolute",
                Same,
                vec![vec![
                    directory("deep/c"),
                    symlink("a", "b"),
                    symlink("b", "/deep/c"),
                    symlink("deep/c/f", "../z"),
                    file("a/f/g", "5"),
                ]],
            ),
            (
                "above the root",
                Same,
                vec![vec![
                    symlink(&up, "x").record("linkpath", "../".repeat(99) + "q"),
                    file(&(up.clone() + "/f"), "6"),
                    symlink("s", "."),
                    file("s/s/s/x", "6"),
                ]],
            ),
            ("a directory's times, by two paths", Same, {
                let entry = |path: &str, at: i64| directory(path).modified(at);
                let link = || symlink("l", ".");
                vec![vec![entry("d", 5), link(), entry("l/d", 9), entry("d", 11), entry("l/d", 13)]]
            }),
            (
                "a directory that becomes a symlink, and its times",
                Same,
                vec![vec![
                    directory("d").modified(5),
                    directory("e").modified(7),
                    symlink("d", "e"),
                    file("7", ""),
                ]],
            ),
            (
                "a directory that becomes a dangling symlink",
                Refused,
                vec![vec![directory("d").modified(5), symlink("d", "nowhere"), file("8", "")]],
            ),
            ("255 symlinks", Same, circle(255)),
            ("256 symlinks", Refused, circle(256)),
            ("a circle", Refused, vec![vec![symlink("s", "t"), symlink("t", "s"), file("s/x", "9")]]),
            ("a circle below itself", Refused, vec![vec![symlink("s", "s/x"), file("s/x/y", "10")]]),
            ("a file as a parent", Refused, vec![vec![file("f", "11"), symlink("l", "f"), file("l/x", "")]]),
            ("a file as a parent's parent", Refused, vec![vec![file("f", "12"), file("f/x/y", "")]]),
            ("no target", Refused, vec![vec![symlink("s", "")]]),
            (
                "as long as a path may be",
                Same,
                vec![vec![symlink("s", "").record("linkpath", "t".repeat(4095))]],
            ),
            (
                "longer than a path may be",
                Refused,
                vec![vec![symlink("s", "").record("linkpath", "t".repeat(4096))]],
            ),
        ]
    });
}

#[test]
fn hard_links_are_of_what_containerd_links() {
    play(|| {
        let dir = || directory("d");
        vec![
            (
                "a slash at the end",
                Same,
                vec![vec![
                    file("f", "1"),
                    symlink("l", "f"),
                    hard_link("of-file", "f/"),
                    hard_link("of-target", "l/"),
                    hard_link("of-symlink", "l"),
                    hard_link("with-dot", "f/."),
                    hard_link("through", "l/.././f"),
                ]],
            ),
            (
                "special files",
                Same,
                vec![vec![
                    device(b'6', "fifo", 0, 0),
                    device(b'3', "null", 1, 3),
                    hard_link("h", "fifo").mode(0o600),
                    hard_link("i", "null").owner(3, 0),
                ]],
            ),
            (
                "through what it replaces",
                Same,
                vec![vec![
                    directory("deep/d"),
                    file("deep/y", "not this"),
                    file("y", "this"),
                    symlink("l", "deep/d"),
                    hard_link("l", "l/../y"),
                ]],
            ),
            (
                "in place of a circle",
                Same,
                vec![vec![file("x", "2"), symlink("l", "l"), hard_link("l", "l/../x")]],
            ),
            ("setuid and other owners", Same, {
                let link = hard_link("b", "a").mode(0o6755).owner(2, 3);
                vec![vec![file("a", "3").mode(0o4755).owner(1, 1), link]]
            }),
            ("itself", Refused, vec![vec![file("f", "4"), hard_link("f", "f")]]),
            ("below itself", Refused, vec![vec![dir(), file("d/x", "5"), hard_link("d", "d/x")]]),
            ("a directory", Refused, vec![vec![dir(), file("6", ""), hard_link("h", "d")]]),
            ("a directory by ..", Refused, vec![vec![file("d/f", "7"), hard_link("h", "d/f/..")]]),
            ("nothing", Refused, vec![vec![file("f", "8"), hard_link("h", "")]]),
            ("what comes later", Refused, vec![vec![hard_link("h", "f"), file("f", "9")]]),
            ("what only a lower layer has", Refused, vec![vec![file("f", "10")], vec![hard_link("h", "f")]]),
        ]
    });
    let lower = vec![
        vec![file("f", "text").mode(0o600), symlink("l", "f")],
        vec![hard_link("h", "f").mode(0o644).owner(1, 1), hard_link("i", "l/"), hard_link("f", "h")],
    ];
    let case = ("a lower layer's file, where it is there", Same, lower);
    play_by(Version::Sid, Snapshotter::Native, vec![case]);
}

#[test]
fn names_are_those_of_containerd() {
    play(|| {
        let bytes = |name: &[u8]| Entry { name: name.into(), ..file("", "x") };
        vec![
            (
                "odd ones",
                Same,
                vec![vec![
                    directory("./"),
                    directory("/"),
                    directory(".."),
                    file("../..", "the root, which stays"),
                    file("", "the root as well"),
                    symlink(".", "/etc"),
                    hard_link("/", "x"),
                    device(b'6', "./", 0, 0),
                    file("a//b/./c/../d", "x"),
                    file("new\nline", "x"),
                    bytes(b"\xff\xfe not UTF-8"),
                    file("-rf", "x"),
                    file("*?[\\", "x"),
                    file("e\u{301}", "two spellings"),
                    file("\u{e9}", "of one letter"),
                    file("Case", "x"),
                    file("case", "x"),
                    file("n", "").record("path", "n".repeat(255)),
                    file("deep", "").record("path", "d/".repeat(1500) + "f"),
                ]],
            ),
            (
                "long ones in each format",
                Same,
                vec![vec![
                    file(&"n".repeat(100), "as long as its field"),
                    file(&"u".repeat(100), "x").raw(345, "p/".repeat(77)),
                    file(&"v".repeat(100), "x").format(Format::V7),
                    gnu_long(b'L', &("gnu/".repeat(60) + "name")),
                    gnu_long(b'K', &"target/".repeat(60)),
                    symlink("cut", "cut").format(Format::Gnu),
                    gnu_long(b'L', "of-gnu"),
                    file("x", "x").record("path", "of-pax"),
                    gnu_long(b'K', &("./".repeat(60) + "of-gnu")),
                    hard_link("linked", "x").format(Format::Gnu),
                    file("star", "x").raw(345, "prefix").raw(508, "tar\0"),
                    file("old-go", "x").format(Format::Gnu).raw(345, "prefix/dir"),
                    file("old-go-é", "x").format(Format::Gnu).raw(345, "é"),
                    file("magic", "x").raw(257, "USTAR\0").raw(345, "p"),
                    file("version", "x").raw(263, "99").raw(345, "p"),
                ]],
            ),
            ("too long", Refused, vec![vec![file("n", "").record("path", "n".repeat(256))]]),
            ("too deep", Refused, vec![vec![file("n", "").record("path", "dd/".repeat(1700) + "f")]]),
            ("a NUL", Refused, vec![vec![file("n", "").record("path", b"a\0b")]]),
            ("a NUL in a link", Refused, vec![vec![symlink("n", "x").record("linkpath", b"a\0b")]]),
            ("a NUL in a user", Refused, vec![vec![file("n", "").record("uname", b"a\0b")]]),
        ]
    });
}
