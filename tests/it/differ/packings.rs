//! How layers are packed, and what their media types say.

use super::containerd::{Blob, Packed, Snapshotter, Version};
use super::entry::{archive, file};
use super::pair::{Pair, Played};
use crate::support::image::sha256;
use crate::support::{noise, packed};

use Played::{Refused, Same};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

const DOCKER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// An archive of more than one buffer that no other image has.
fn large(seed: u64) -> Vec<u8> {
    archive(
        &(0..20).map(|at| file(&format!("file{at}"), noise(100_000, 100 * seed + at))).collect::<Vec<_>>(),
    )
}

fn play(cases: impl Fn() -> Vec<(&'static str, Played, Blob)>) {
    for version in [Version::Sid, Version::Trixie] {
        let Some(mut pair) = Pair::start(version, Snapshotter::Overlayfs) else { return };
        for (about, expected, blob) in cases() {
            // 1.7 takes no image that has such a layer.
            if version == Version::Trixie && blob.media_type == DOCKER_ZSTD {
                continue;
            }
            let about = format!("{about}, {}", blob.media_type);
            assert_eq!(pair.play(&about, &[blob]), expected, "{about}, by both");
        }
    }
}

fn blob(media_type: &str, plain: &[u8], bytes: Vec<u8>) -> Blob {
    Blob { media_type: media_type.into(), bytes, diff: sha256(plain) }
}

/// A frame that is to be skipped (RFC 8878, section 3.1.2).
fn skippable(length: u32) -> Vec<u8> {
    [&[0x53, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![b's'; length as usize]].concat()
}

fn in_parts(coding: &str, plain: &[u8]) -> Vec<u8> {
    plain.chunks(500_000).flat_map(|part| packed(coding, part)).collect()
}

/// What no two archives of a test may share, because a layer is unpacked once.
fn numbered(number: u64) -> Vec<u8> {
    archive(&[file("number", number.to_string()), file("file", "text".repeat(1000))])
}

#[test]
fn gzip_is_inflated_as_by_containerd() {
    play(|| {
        let of = |plain: Vec<u8>, change: fn(&mut Vec<u8>)| {
            let mut bytes = packed("gzip", &plain);
            change(&mut bytes);
            blob(GZIP, &plain, bytes)
        };
        let members = |plain: Vec<u8>| blob(GZIP, &plain, in_parts("gzip", &plain));
        let around = numbered(1);
        let around =
            blob(GZIP, &around, [packed("gzip", b""), packed("gzip", &around), packed("gzip", b"")].concat());
        vec![
            ("many members", Same, members(large(1))),
            ("empty members", Same, around),
            ("zeros behind it", Same, of(large(2), |bytes| bytes.extend([0; 512]))),
            ("other bytes behind it", Same, of(large(3), |bytes| bytes.extend(b"junkjunk"))),
            ("zeros behind a small one", Same, of(numbered(2), |bytes| bytes.extend([0; 512]))),
            ("half of it", Refused, of(large(4), |bytes| bytes.truncate(bytes.len() / 2))),
            ("all but a byte", Refused, of(large(5), |bytes| bytes.truncate(bytes.len() - 1))),
            (
                "another checksum",
                Refused,
                of(large(6), |bytes| *bytes.iter_mut().nth_back(4).expect("a byte") ^= 1),
            ),
            ("another size", Refused, of(large(7), |bytes| *bytes.last_mut().expect("a byte") ^= 1)),
            (
                "another checksum of a small one",
                Refused,
                of(numbered(3), |bytes| {
                    *bytes.iter_mut().nth_back(4).expect("a byte") ^= 1;
                }),
            ),
            ("packed twice", Refused, {
                let plain = numbered(4);
                blob(GZIP, &plain, packed("gzip", &packed("gzip", &plain)))
            }),
            ("an empty file", Same, blob(GZIP, b"", Vec::new())),
        ]
    });
}

#[test]
fn zstd_is_inflated_as_by_containerd() {
    play(|| {
        let of = |plain: Vec<u8>, change: fn(&mut Vec<u8>)| {
            let mut bytes = packed("zstd", &plain);
            change(&mut bytes);
            blob(ZSTD, &plain, bytes)
        };
        let frames = |plain: Vec<u8>| {
            blob(ZSTD, &plain, [skippable(9), in_parts("zstd", &plain), skippable(0), skippable(7)].concat())
        };
        vec![
            ("many frames and some to skip", Same, frames(large(1))),
            ("only a frame to skip", Same, blob(ZSTD, b"", skippable(9))),
            ("half of it", Refused, of(large(2), |bytes| bytes.truncate(bytes.len() / 2))),
            ("all but a byte", Refused, of(large(3), |bytes| bytes.truncate(bytes.len() - 1))),
            ("other bytes behind it", Refused, of(large(4), |bytes| bytes.extend(b"junkjunk"))),
            ("two bytes behind it", Refused, of(large(5), |bytes| bytes.extend(b"ju"))),
            ("a cut frame to skip", Refused, of(large(6), |bytes| bytes.extend(&skippable(100)[..50]))),
            ("another checksum", Refused, of(large(7), |bytes| *bytes.last_mut().expect("a byte") ^= 1)),
        ]
    });
}

#[test]
fn media_types_are_understood_as_by_containerd() {
    play(|| {
        let docker = "application/vnd.docker.image.rootfs";
        let oci = "application/vnd.oci.image.layer";
        let mut cases = Vec::new();
        let types = [
            (format!("{docker}.diff.tar"), true),
            (format!("{docker}.diff.tar.gzip"), true),
            (DOCKER_ZSTD.to_owned(), true),
            (format!("{docker}.foreign.diff.tar.gzip"), true),
            (format!("{oci}.v1.tar"), false),
            (format!("{oci}.v1.tar+gzip"), true),
            (format!("{oci}.v1.tar+zstd"), true),
            (format!("{oci}.nondistributable.v1.tar"), false),
            (format!("{oci}.nondistributable.v1.tar+gzip"), true),
            (format!("{oci}.nondistributable.v1.tar+zstd"), true),
        ];
        for (number, (media_type, may_be_packed)) in (0..).zip(types) {
            for (offset, coding) in [(0, None), (100, Some("gzip")), (200, Some("zstd"))] {
                let plain = numbered(number + offset);
                let bytes = coding.map_or_else(|| plain.clone(), |coding| packed(coding, &plain));
                let expected = if may_be_packed || coding.is_none() { Same } else { Refused };
                cases.push(("the type and the bytes", expected, blob(&media_type, &plain, bytes)));
            }
        }
        let plain = numbered(300);
        cases.push((
            "encrypted",
            Refused,
            blob(&format!("{GZIP}+encrypted"), &plain, packed("gzip", &plain)),
        ));
        cases.push((
            "another digest",
            Refused,
            Blob { diff: sha256(b"x"), ..Blob::new(&numbered(301), Packed::Gzip) },
        ));
        cases
    });
}
