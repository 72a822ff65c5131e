//! A header block.

use super::number::{Time, numeric, octal};
use crate::error::Error;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// What a header block says.
#[derive(Debug)]
pub(super) struct Header {
    /// The type of the entry.
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) modified: Time,
    pub(super) accessed: Option<Time>,
    pub(super) major: i64,
    pub(super) minor: i64,
}

enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Error> {
        if !has_right_checksum(block) {
            return Err(Error::invalid("a header has a wrong checksum"));
        }
        Self::fields(block).ok_or(Error::invalid("a header has a field that is no number"))
    }

    fn fields(block: &[u8; BLOCK]) -> Option<Self> {
        let mut header = Self {
            flag: block[156],
            name: text(&block[..100]).to_vec(),
            link: text(&block[157..257]).to_vec(),
            mode: numeric(&block[100..108])?,
            uid: numeric(&block[108..116])?,
            gid: numeric(&block[116..124])?,
            size: numeric(&block[124..136])?,
            modified: Time::at(numeric(&block[136..148])?),
            accessed: None,
            major: 0,
            minor: 0,
        };
        let format = format(block);
        if matches!(format, Format::V7) {
            return Some(header);
        }
        header.major = numeric(&block[329..337])?;
        header.minor = numeric(&block[337..345])?;
        let prefix = match format {
            Format::V7 => &[],
            Format::Ustar => text(&block[345..500]),
            Format::Star => {
                header.accessed = Some(Time::at(numeric(&block[476..488])?));
                numeric(&block[488..500])?;
                text(&block[345..476])
            }
            Format::Gnu => header.gnu_times(block),
        };
        if !prefix.is_empty() {
            header.name = [prefix, b"/", &header.name].concat();
        }
        Some(header)
    }

    /// Takes the time of the last access. Where the times are no numbers, Go before 1.8 has written a prefix there: returns it.
    fn gnu_times<'a>(&mut self, block: &'a [u8; BLOCK]) -> &'a [u8] {
        let time = |field: &[u8]| match field[0] {
            0 => Some(None),
            _ => numeric(field).map(Time::at).map(Some),
        };
        match (time(&block[345..357]), time(&block[357..369])) {
            (Some(accessed), Some(_)) => {
                self.accessed = accessed;
                &[]
            }
            _ => Some(text(&block[345..500])).filter(|prefix| prefix.is_ascii()).unwrap_or_default(),
        }
    }
}

/// A string up to its NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn format(block: &[u8; BLOCK]) -> Format {
    match (&block[257..263], &block[263..265], &block[508..512]) {
        (b"ustar\0", _, b"tar\0") => Format::Star,
        (b"ustar\0", ..) => Format::Ustar,
        (b"ustar ", b" \0", _) => Format::Gnu,
        _ => Format::V7,
    }
}

/// Its own field counts as spaces. Old programs have summed signed bytes.
fn has_right_checksum(block: &[u8; BLOCK]) -> bool {
    let (before, after) = (block[..148].iter(), block[156..].iter());
    let bytes = || before.clone().chain([b' '; 8].iter()).chain(after.clone());
    let unsigned: i64 = bytes().map(|&byte| i64::from(byte)).sum();
    let stored = octal(&block[148..156]);
    stored == Some(unsigned) || stored == Some(bytes().map(|&byte| i64::from(byte.cast_signed())).sum())
}
