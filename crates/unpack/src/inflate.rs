//! The plain bytes of a layer. Its first bytes tell how it is packed, as containerd has it, not its media type.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// Bytes of a blob that are read at once.
const READ: usize = 256 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What a layer's media type says of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// They are the archive.
    Plain,
    /// They may be packed by gzip or zstd.
    Packed,
}

/// The archive in a blob, from its beginning.
pub(crate) fn open(blob: File, packing: Packing) -> io::Result<Box<dyn Read + Send>> {
    let mut blob = BufReader::with_capacity(READ, blob);
    let start = blob.fill_buf()?;
    Ok(match packing {
        Packing::Packed if start.starts_with(GZIP) => {
            Box::new(Members { member: Some(GzDecoder::new(blob)) })
        }
        // It refuses a window above 128 MiB.
        Packing::Packed if is_zstd(start) => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
        Packing::Packed | Packing::Plain => Box::new(blob),
    })
}

/// The members of a gzip file, one after the other (RFC 1952, section 2.2). Bytes that no member begins with are ignored, as
/// gzip, pigz and igzip do, which containerd inflates by: some programs pad blobs with zeros.
struct Members<R> {
    /// None at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                self.member = Some(member);
                return Ok(length);
            }
            let mut blob = member.into_inner();
            let start = blob.fill_buf()?;
            if !start.is_empty() && start.starts_with(&GZIP[..start.len().min(2)]) {
                self.member = Some(GzDecoder::new(blob));
            }
        }
        Ok(0)
    }
}

/// A frame, or one to skip (RFC 8878, section 3.1).
fn is_zstd(start: &[u8]) -> bool {
    let skipped = |magic: &[u8; 4]| u32::from_le_bytes(*magic) & !0xf == 0x184d_2a50;
    start.starts_with(ZSTD) || start.len() >= 8 && start.first_chunk().is_some_and(skipped)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn read(blob: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(blob).expect("written");
        file.rewind().expect("at its start");
        let mut plain = Vec::new();
        open(file, packing)?.read_to_end(&mut plain).map(|_| plain)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed")
    }

    #[test]
    fn the_first_bytes_tell_the_packing() {
        let zstd = zstd::encode_all(&b"text"[..], 1).expect("packed");
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
        for blob in [&b"text"[..], &gzip(b"text"), &zstd, &skipped] {
            assert_eq!(read(blob, Packing::Packed).expect("read"), b"text");
        }
        assert_eq!(read(b"", Packing::Packed).expect("read"), b"");
    }

    #[test]
    fn a_plain_layer_is_not_inflated() {
        let blob = gzip(b"text");
        assert_eq!(read(&blob, Packing::Plain).expect("read"), blob);
    }

    #[test]
    fn several_members_of_gzip_are_one_layer() {
        assert_eq!(read(&[gzip(b"one"), gzip(b"two")].concat(), Packing::Packed).expect("read"), b"onetwo");
    }

    #[test]
    fn bytes_after_gzip_are_ignored() {
        for more in [&[0; 512][..], b"garbage"] {
            assert_eq!(read(&[&gzip(b"one"), more].concat(), Packing::Packed).expect("read"), b"one");
        }
    }

    #[test]
    fn a_damaged_second_member_is_an_error() {
        for more in [&b"\x1f"[..], b"\x1f\x8bgarbage", &gzip(b"two")[..20]] {
            assert!(read(&[&gzip(b"one"), more].concat(), Packing::Packed).is_err(), "{more:?}");
        }
    }

    #[test]
    fn a_cut_layer_is_an_error() {
        let zstd = zstd::encode_all(&[7; 100_000][..], 1).expect("packed");
        for blob in [gzip(&[7; 100_000]), zstd] {
            assert!(read(&blob[..blob.len() - 1], Packing::Packed).is_err());
        }
    }

    #[test]
    fn a_wrong_checksum_is_an_error() {
        let mut blob = gzip(&[7; 100_000]);
        let at = blob.len() - 5;
        blob[at] ^= 1;
        assert!(read(&blob, Packing::Packed).is_err());
    }
}
