//! The headers of a tar, one after the other.
//!
//! They are walked here, and not by the crate `tar`'s `Archive`. That reads a long name whole, whatever length the header claims; its
//! raw mode leaves names to the caller, but passes over the attribute `size` of a pax header, which layers over 8 GiB have. So
//! neither keeps memory bounded and reads all archives.

use std::io::{Error, ErrorKind, Read, Result};

use tar::{EntryType, Header, PaxExtensions};

/// A tar's unit, in bytes.
const BLOCK: u64 = 512;
/// The longest name or list of attributes before a member, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// A member, as its header says, and what comes before that. Its bytes come next.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: String,
    /// Where a link leads.
    pub(super) link: Option<String>,
    pub(super) kind: EntryType,
    /// In bytes; they are followed by so many that [`padding`] says.
    pub(super) size: u64,
    pub(super) mode: u32,
    /// When it was written, in seconds since the epoch.
    pub(super) written: u64,
}

/// Reads up to the bytes of the next member; `None` at the end.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for what is no tar, and for names and attributes that are too long; those of `tar`.
pub(super) fn next(tar: &mut impl Read) -> Result<Option<Head>> {
    let (mut name, mut link, mut pax_size) = (None, None, None);
    loop {
        let Some(header) = header(tar)? else { return Ok(None) };
        let (kind, size) = (header.entry_type(), header.entry_size()?);
        match kind {
            EntryType::GNULongName => name = Some(text(&extension(tar, size)?)),
            EntryType::GNULongLink => link = Some(text(&extension(tar, size)?)),
            EntryType::XGlobalHeader => drop(extension(tar, size)?),
            EntryType::XHeader => {
                for record in PaxExtensions::new(&extension(tar, size)?).flatten() {
                    let value = || record.value().map(ToOwned::to_owned).ok();
                    match record.key() {
                        Ok("path") => name = value(),
                        Ok("linkpath") => link = value(),
                        Ok("size") => pax_size = value().and_then(|size| size.parse().ok()),
                        _ => {}
                    }
                }
            }
            _ => {
                return Ok(Some(Head {
                    name: name.unwrap_or_else(|| text(&header.path_bytes())),
                    link: link.or_else(|| Some(text(&header.link_name_bytes()?))),
                    kind,
                    size: pax_size.unwrap_or(size),
                    mode: header.mode().unwrap_or_default(),
                    written: header.mtime().unwrap_or_default(),
                }));
            }
        }
    }
}

/// How many bytes follow `size` bytes of a member.
pub(super) const fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// A header whose checksum is right; `None` at the end of the tar, and where nothing comes any more.
fn header(tar: &mut impl Read) -> Result<Option<Header>> {
    let mut block = Vec::new();
    tar.take(BLOCK).read_to_end(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if block.len() as u64 != BLOCK {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let header = Header::from_byte_slice(&block);
    let mut counted = header.clone();
    counted.set_cksum();
    if header.cksum().ok() != counted.cksum().ok() {
        return Err(Error::new(ErrorKind::InvalidData, "there is no tar header"));
    }
    Ok(Some(header.clone()))
}

/// The bytes of what is said before a member.
fn extension(tar: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    if size > MAX_EXTENSION {
        let why = format!("a member's name or attributes have {size} bytes");
        return Err(Error::new(ErrorKind::InvalidData, why));
    }
    // 1 MiB at most, so the cast cannot cut.
    let mut bytes = vec![0; (size + padding(size)) as usize];
    tar.read_exact(&mut bytes)?;
    bytes.truncate(size as usize);
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut tar: &[u8]) -> Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        while let Some(head) = next(&mut tar)? {
            let length = (head.size + padding(head.size)) as usize;
            tar = tar.get(length..).ok_or(ErrorKind::UnexpectedEof)?;
            found.push((head.name, head.size));
        }
        Ok(found)
    }

    fn tar() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, size) in [("a/short", 5), (&*format!("a/{}", "long".repeat(60)), 512), ("b", 0)] {
            let mut header = Header::new_gnu();
            header.set_size(size);
            tar.append_data(&mut header, name, vec![7; size as usize].as_slice()).expect("a member");
        }
        tar.append_pax_extensions([("path", b"c".as_slice()), ("size", b"3")]).expect("attributes");
        let mut header = Header::new_ustar();
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, b"".as_slice()).expect("a member");
        tar.into_inner().expect("a tar")
    }

    #[test]
    fn names_and_lengths_are_what_comes_before_a_header_says() {
        let mut tar = tar();
        // The bytes of the last member, whose own header says that it has none.
        tar.splice(tar.len() - 1024.., [7; 512].into_iter().chain([0; 1024]));
        let long = format!("a/{}", "long".repeat(60));
        let found = all(&tar).expect("a tar");
        assert_eq!(found, [("a/short".into(), 5), (long, 512), ("b".into(), 0), ("c".into(), 3)]);
    }

    #[test]
    fn a_name_without_an_end_is_not_read() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(3 << 30);
        header.set_cksum();
        let endless = header.as_bytes().chain(std::io::repeat(b'x'));
        let error = next(&mut { endless }).expect_err("too long");
        assert!(error.to_string().contains("name or attributes"), "{error}");
    }

    #[test]
    fn no_changed_byte_makes_it_panic() {
        let whole = tar();
        for at in 0..whole.len().min(4096) {
            for byte in [0, b'7', b'x', 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = all(&changed);
                // With a right checksum too, so that what it says is believed.
                let start = at / 512 * 512;
                let mut header = Header::from_byte_slice(&changed[start..start + 512]).clone();
                header.set_cksum();
                changed[start..start + 512].copy_from_slice(header.as_bytes());
                let _ = all(&changed);
            }
        }
    }
}
