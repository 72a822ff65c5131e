//! What headers and records say: numbers, times, types, sparse files, attributes; and where an archive ends.

use super::super::containerd::{Blob, Packed, Snapshotter, Version};
use super::super::entry::{
    Entry, Format, archive, device, directory, file, global, gnu_long, hard_link, number, symlink,
};
use super::super::pair::{
    Pair,
    Played::{Refused, Same},
};
use super::{Case, play};

#[test]
fn numbers_and_times_are_those_of_containerd() {
    play(|| {
        let times = [
            "-1.5",
            "-0.0",
            "00012",
            "+5",
            "5.",
            "1.9999999999",
            "2147483648.5",
            "9223372036.854775807",
            "9223372036.854775808",
            "-9223372036854775808",
            "9223372036854775807",
        ];
        let mut entries: Vec<Entry> =
            times.iter().map(|time| file(&format!("t{time}"), "").record("mtime", time)).collect();
        let gnu = |name: &str| file(name, "x").format(Format::Gnu);
        entries.extend([
            file("accessed", "").record("atime", "1600000000.25"),
            file("accessed-before", "").record("atime", "100"),
            file("accessed-at-the-end", "").record("atime", "9223372036854775807"),
            file("changed", "").record("ctime", "77"),
            gnu("base-256").owner(1 << 40 | 7, u64::MAX - 2).modified(1 << 35),
            gnu("end-of-time").modified(i64::MAX),
            gnu("begin-of-time").modified(i64::MIN),
            gnu("gnu-times").raw(345, number(1_600_000_000, 12)).raw(357, number(1_300_000_000, 12)),
            file("star-times", "").raw(476, number(1_600_000_000, 12)).raw(508, "tar\0"),
            file("owner", "").record("uid", "4294967295").record("gid", "4294967296"),
            file("negative-owner", "").record("uid", "-2").record("gid", "-1"),
            file("all-bits", "").mode(0o107755),
            file("all-bits-of-a-number", "").raw(100, [0xff; 8]),
            directory("all-bits-of-a-directory").mode(0o47777),
            device(b'6', "all-bits-of-a-fifo", 0, 0).mode(0o7777),
            device(b'3', "large", 4096, 1 << 20),
            device(b'4', "larger", 70_000, 70_000),
            device(b'3', "cut", 0, 0).raw(329, number(1 << 32 | 5, 8)).raw(337, number(1 << 33 | 7, 8)),
            device(b'3', "negative", 0, 0).raw(329, [0xff; 8]),
            file("spaces", "hello").raw(124, "          5 "),
            file("ends-at-a-nul", "").raw(108, b"12\x0034\0\0"),
            Entry { data: Vec::new(), ..directory("with-a-size") }.raw(124, number(5000, 12)),
            symlink("with-a-size-too", "x").raw(124, number(700, 12)),
            directory("with-a-recorded-size").record("size", "1000000"),
            file("recorded-size", "12345").raw(124, number(0, 12)).record("size", "5"),
            file("last", "after all of these"),
        ]);
        let mut cases: Vec<Case> = vec![("all that are numbers", Same, vec![entries])];
        for time in ["1e5", ".5", "0x10", " 5", "5 ", "1.-5", "99999999999999999999"] {
            cases.push(("no time", Refused, vec![vec![file(time, "").record("mtime", time)]]));
        }
        for number in ["99999999999999999999", "1.5", "x"] {
            cases.push(("no number", Refused, vec![vec![file(number, "").record("uid", number)]]));
        }
        cases.extend([
            ("no octal number", Refused, vec![vec![file("a", "").raw(100, b"99999\0\0\0")]]),
            ("a large number", Refused, vec![vec![file("b", "").raw(136, [0x80, 0xff].repeat(6))]]),
            ("a negative size", Refused, vec![vec![file("c", "").record("size", "-5")]]),
            ("a bad time of star", Refused, vec![vec![file("d", "").raw(476, "xxx").raw(508, "tar\0")]]),
        ]);
        cases
    });
}

#[test]
fn records_and_types_are_those_of_containerd() {
    play(|| {
        let records = |flag: u8, data: &[u8]| Entry { data: data.into(), ..Entry::new(flag, "records") };
        let typed = |flag: u8, name: &str| Entry { data: b"data".to_vec(), ..Entry::new(flag, name) };
        vec![
            (
                "records that count",
                Same,
                vec![vec![
                    records(b'x', b"9 path=a\n"),
                    records(b'x', b"9 uid=77\n"),
                    file("only-the-last-ones", ""),
                    records(b'x', b"9 path=b\n"),
                    global("nothing"),
                    file("none-behind-a-global-one", ""),
                    file("removed", ""),
                    global("removed"),
                    Entry { data: b"99 malformed\n".to_vec(), ..typed(0, "just-data") },
                    file("libarchive", "")
                        .record("LIBARCHIVE.xattr.user.a", "Yg==")
                        .record("SCHILY.fflags", "x"),
                    file("long", "").record("comment", "c".repeat((1 << 20) - 100)),
                ]],
            ),
            (
                "directories by their names",
                Same,
                vec![vec![
                    Entry { data: Vec::new(), ..typed(0, "d/") },
                    typed(0, "d/f"),
                    typed(b'0', "e/"),
                    Entry { data: Vec::new(), ..typed(0, "x") }.record("path", "p/"),
                ]],
            ),
            ("an empty key", Refused, vec![vec![file("a", "").record("", "=x")]]),
            ("malformed global ones", Refused, vec![vec![records(b'g', b"99 bad\n"), file("b", "")]]),
            ("too long", Refused, vec![vec![file("c", "").record("comment", "c".repeat(1 << 20))]]),
            ("records at the end", Same, vec![vec![file("d", ""), records(b'x', b"9 path=q\n")]]),
            ("a long name at the end", Same, vec![vec![file("e", ""), gnu_long(b'L', "f")]]),
            ("a contiguous file", Refused, vec![vec![typed(b'7', "a")]]),
            ("Solaris' records", Refused, vec![vec![records(b'X', b"9 path=q\n"), file("f", "")]]),
            ("a dump's directory", Refused, vec![vec![typed(b'D', "b")]]),
            ("more of a file", Refused, vec![vec![typed(b'M', "c")]]),
            ("old long names", Refused, vec![vec![typed(b'N', "d")]]),
            ("a volume's label", Refused, vec![vec![typed(b'V', "e")]]),
            (
                "an unknown type at the root",
                Same,
                vec![vec![typed(b'Z', "./"), file("g", ""), typed(b'Z', ".wh.g")]],
            ),
        ]
    });
}

#[test]
fn sparse_files_are_refused_as_by_containerd() {
    play(|| {
        let map = |name: &str, data: &str, map: &str, count: &str, size: &str| {
            let entry = file(name, data).record("GNU.sparse.map", map).record("GNU.sparse.numblocks", count);
            vec![vec![entry.record("GNU.sparse.size", size)]]
        };
        let in_data = |name: &str, text: &str| {
            let mut data = text.as_bytes().to_vec();
            data.resize(512, 0);
            vec![vec![
                file(name, data).record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0"),
                file(&format!("after {name}"), ""),
            ]]
        };
        let old = file("old", "0123456789").format(Format::Gnu);
        let old = Entry { flag: b'S', ..old }.raw(386, [number(0, 12), number(10, 12)].concat());
        vec![
            ("without data", Same, map("a", "", "0,0,10,0", "2", "5000")),
            ("a hole at the end", Same, map("b", "abc", "0,0,2,3,10,0", "3", "10")),
            ("an empty map", Same, {
                let entry = file("c", "").record("GNU.sparse.major", "0").record("GNU.sparse.minor", "1");
                vec![vec![entry.record("GNU.sparse.numblocks", "0").record("GNU.sparse.size", "5000")]]
            }),
            ("a whiteout by its other name", Same, {
                let mut layers = map("d", "abc", "0,3", "1", "10");
                layers[0].insert(0, file("gone", "x"));
                layers[0][1] = layers[0][1].clone().record("GNU.sparse.name", ".wh.gone");
                layers
            }),
            ("no count", Refused, map("e", "abc", "0,3", "", "10")),
            ("another count", Refused, map("f", "abc", "0,3", "2", "10")),
            ("a negative place", Refused, map("g", "abc", "-1,3", "1", "10")),
            ("one over another", Refused, map("h", "abcdef", "0,3,2,3", "2", "10")),
            ("behind the end", Refused, map("i", "abcdef", "0,3,8,3", "2", "10")),
            ("less data", Refused, map("j", "ab", "0,3", "1", "10")),
            ("more data", Refused, map("k", "abcdef", "0,3", "1", "10")),
            (
                "a directory",
                Refused,
                vec![vec![Entry { flag: b'5', ..map("l", "", "0,0", "1", "5")[0][0].clone() }]],
            ),
            ("no number before the data", Refused, in_data("m", "x\n")),
            ("a negative number before the data", Refused, in_data("n", "-1\n")),
            ("an empty line before the data", Refused, in_data("o", "1\n\n3\n")),
            ("GNU's old format", Refused, vec![vec![old]]),
        ]
    });
}

#[test]
fn attributes_are_set_or_refused_as_by_containerd() {
    play(|| {
        let acl: &[u8] =
            b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
        let capability = super::super::same::CAPABILITY;
        let all = |name: &str, value: &[u8]| {
            let with = |entry: Entry| entry.attribute(name, value);
            vec![
                with(file(&format!("{name} of a file"), "x")),
                with(directory(&format!("{name} of a directory"))),
                with(symlink(&format!("{name} of a symlink"), "x")),
                with(device(b'6', &format!("{name} of a fifo"), 0, 0)),
            ]
        };
        let mut taken = Vec::new();
        for (name, value) in
            [("security.x", &b"y"[..]), ("trusted.a", b"b"), ("trusted.overlay.opaque", b"y")]
        {
            taken.extend(all(name, value));
        }
        taken.extend(all("system.x", b"y"));
        taken.extend(all("user.overlay.opaque", b"y"));
        taken.extend([
            file("capable", "x").attribute("security.capability", capability).mode(0o4755).owner(5, 5),
            hard_link("incapable", "capable").mode(0o755).owner(6, 6),
            file("shared", "x").attribute("system.posix_acl_access", acl),
            directory("by-default").attribute("system.posix_acl_default", acl).mode(0o700),
            file("by-default/file", "x"),
            directory("by-default/dir"),
            file("by-default/implied/file", "x"),
            device(b'6', "by-default/fifo", 0, 0),
        ]);
        let inherited = vec![
            directory("d")
                .attribute("user.a", "b")
                .attribute("security.x", "y")
                .attribute("system.posix_acl_default", acl),
            file("d/x", "x"),
        ];
        let one = |entry: Entry| vec![vec![entry]];
        vec![
            ("all that are taken", Same, vec![taken]),
            ("inherited", Same, vec![inherited, vec![file("d/y", "y")]]),
            ("no capability", Refused, one(file("a", "").attribute("security.capability", "bad"))),
            ("a long name", Refused, one(file("c", "").attribute(&format!("user.{}", "n".repeat(300)), "x"))),
            ("a large value", Refused, one(file("d", "").attribute("user.big", vec![b'v'; 70_000]))),
            ("an empty name", Refused, one(file("e", "").attribute("", "x"))),
            ("half a name", Refused, one(file("f", "").attribute("user.", "x"))),
            ("a name with a NUL", Refused, one(file("g", "").attribute("user.a\0b", "x"))),
        ]
    });
}

#[test]
fn an_archive_is_cut_where_containerd_lets_it() {
    for version in [Version::Sid, Version::Trixie] {
        let Some(mut pair) = Pair::start(version, Snapshotter::Overlayfs) else { return };
        let whole = archive(&[file("a", "hello"), file("b", "x")]);
        let zeros = |length: usize| vec![0; length];
        for (about, expected, bytes) in [
            ("no end", Same, whole[..whole.len() - 1024].to_vec()),
            ("half of an end", Same, whole[..whole.len() - 512].to_vec()),
            ("in the padding", Same, whole[..whole.len() - 1024 - 100].to_vec()),
            ("more behind the end", Same, [&whole[..], &archive(&[file("hidden", "x")])].concat()),
            ("zeros", Same, zeros(1024)),
            ("one block of zeros", Same, zeros(512)),
            ("nothing", Same, Vec::new()),
            ("in a header", Refused, whole[..600 + 512].to_vec()),
            ("in data", Refused, whole[..514].to_vec()),
            (
                "an entry behind one block of zeros",
                Refused,
                [&whole[..1024], &zeros(512), &whole[..1024]].concat(),
            ),
            ("less than a block of zeros", Refused, zeros(100)),
            ("no archive", Refused, vec![b'x'; 1024]),
            ("one byte", Refused, vec![b'x']),
        ] {
            assert_eq!(pair.play(about, &[Blob::new(&bytes, Packed::Gzip)]), expected, "{about}, by both");
        }
    }
}
