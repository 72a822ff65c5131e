//! Layers by chance: few names, so that entries meet, replace and remove each other.

use std::time::{Duration, Instant};

use super::containerd::{Blob, Packed, Snapshotter, Version};
use super::entry::{Entry, Format, archive, device, directory, file, global, gnu_long, hard_link, symlink};
use super::pair::{Pair, Played};

/// Images of each test, unless `fuzz/layers` says for how long it goes on.
const IMAGES: u64 = 40;

#[test]
fn generated_layers_are_unpacked_or_refused_as_by_containerd() {
    assert_alike(Version::Sid, Snapshotter::Overlayfs);
}

#[test]
fn generated_layers_are_unpacked_or_refused_as_by_containerd_1_7() {
    assert_alike(Version::Trixie, Snapshotter::Overlayfs);
}

#[test]
fn generated_layers_are_unpacked_over_others_as_by_containerd() {
    assert_alike(Version::Sid, Snapshotter::Native);
}

fn assert_alike(version: Version, snapshotter: Snapshotter) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("HUBCAP_GENERATED_SECONDS");
    let first = number("HUBCAP_GENERATED_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or_default());
    let (mut seed, mut taken) = (first, 0);
    let Some(mut pair) = Pair::start(version, snapshotter) else { return };
    while if seconds.is_some() { Instant::now() < end } else { seed < first + IMAGES } {
        let mut chance = Chance(seed);
        let layers: Vec<Vec<u8>> = (0..=chance.below(3)).map(|_| chance.archive()).collect();
        let blobs: Vec<Blob> = layers.iter().map(|bytes| Blob::new(bytes, Packed::Gzip)).collect();
        taken += u64::from(pair.play(&format!("seed {seed}"), &blobs) == Played::Same);
        seed += 1;
    }
    let images = seed - first;
    println!("{images} images were compared, {taken} of them valid");
    assert!(taken >= images / 5, "only {taken} of {images} images were valid");
    assert!(pair.differ.applied() as u64 >= images / 2, "{}", pair.differ.log());
}

/// Numbers that are the same for the same seed.
struct Chance(u64);

impl Chance {
    const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Mostly directories with the first names, and others with the last ones, so that a layer may be valid.
    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..self.below(3) {
            path += self.of(&["a/", "b/", "./"]);
        }
        path + self.of(&["a", "c", "d", "e", "f", "g", "h"])
    }

    fn target(&mut self) -> String {
        let mut target = self.of(&["", "/", "../", "./", "../../"]).to_owned();
        if self.once_in(4) {
            target += self.of(&["c/../", "a/../", "e/d/../../"]);
        }
        target + &self.path() + self.of(&["", "", "", "/", "/."])
    }

    /// Most are as programs write them; some end early, or have a header with a few other bytes and a right checksum.
    fn archive(&mut self) -> Vec<u8> {
        let mut bytes = archive(&self.layer());
        if self.once_in(6) {
            let headers: Vec<usize> = (0..bytes.len())
                .step_by(512)
                .filter(|&at| bytes[at..].get(257..262) == Some(b"ustar"))
                .collect();
            let at = headers[self.below(headers.len() as u64) as usize];
            let header: &mut [u8] = &mut bytes[at..at + 512];
            for _ in 0..=self.below(3) {
                let field = [0, 100, 108, 116, 124, 136, 156, 157, 257, 263, 329, 337, 345, 476, 508];
                let field = field[self.below(field.len() as u64) as usize];
                let byte = [0, b' ', b'0', b'1', b'7', b'S', 0x80, 0xff][self.below(8) as usize];
                header[field + self.below(4) as usize] = byte;
            }
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        if self.once_in(10) {
            bytes.truncate(bytes.len() - [512, 1024, 1100, 700][self.below(4) as usize].min(bytes.len()));
        }
        bytes
    }

    fn layer(&mut self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..2 + self.below(8) {
            if self.once_in(20) {
                entries.push(gnu_long(if self.once_in(2) { b'K' } else { b'L' }, &("a/".repeat(60) + "c")));
            }
            let earlier = entries.iter().rfind(|entry| entry.flag == b'0').map(|entry| entry.name.clone());
            let entry = self.entry(earlier);
            entries.push(entry);
        }
        entries
    }

    fn entry(&mut self, earlier: Option<Vec<u8>>) -> Entry {
        let path = self.path();
        let entry = match self.below(22) {
            0..6 => file(&path, path.repeat(self.below(300) as usize)),
            6..11 => directory(self.of(&["a", "b", "a/b", "b/a", "a/../b", "b/./b"])),
            11..15 => symlink(&path, &self.target()),
            15..17 => match earlier {
                Some(earlier) => {
                    hard_link(&path, &(String::from_utf8_lossy(&earlier) + self.of(&["", "", "/"])))
                }
                None => hard_link(&path, &self.target()),
            },
            17 => device(b'6', &path, 0, 0),
            18 => device(self.of(&["3", "4"]).as_bytes()[0], &path, self.below(9000) as u32, 5),
            19 => file(&format!("{}.wh.{}", self.of(&["", "a/"]), self.of(&["x", "c", "a"])), ""),
            20 => file(&format!("{}/.wh..wh..opq", self.of(&["a", "b", "z"])), ""),
            _ if self.once_in(2) => global(&path),
            _ => sparse(&path),
        };
        let entry = self.with_records(entry);
        let format = if self.once_in(4) { Format::Gnu } else { Format::Ustar };
        let mode = if entry.flag == b'5' { 0o755 } else { 0o644 };
        let mode = mode | [0, 0o1000, 0o2000, 0o4000][self.below(4) as usize];
        let modified = 1 + self.below(1 << 30).cast_signed();
        entry.mode(mode).owner(self.below(3), self.below(3)).modified(modified).format(format)
    }

    fn with_records(&mut self, mut entry: Entry) -> Entry {
        while self.once_in(5) {
            let path = self.path();
            entry = match self.below(8) {
                0 => entry.record("path", path),
                1 => entry.record("linkpath", self.target()),
                2 => entry.record("mtime", self.of(&["1400000000.123456789", "-1.5", "9300000000", "7"])),
                3 => entry.record("atime", self.of(&["1300000000.5", "-1", "5"])),
                4 => entry.record("uid", self.of(&["4294967297", "70", "-1"])),
                5 => entry.attribute(self.of(&["user.a", "security.x", "trusted.b"]), path),
                6 => entry.attribute("security.capability", super::same::CAPABILITY),
                _ => entry.record(self.of(&["uname", "comment", "SCHILY.dev"]), "text"),
            };
        }
        entry
    }
}

/// A file with a hole at its start.
fn sparse(path: &str) -> Entry {
    let mut data = b"1\n700\n3\n".to_vec();
    data.resize(512, 0);
    data.extend(b"end");
    file("sparse", data)
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", path)
        .record("GNU.sparse.realsize", "703")
}
