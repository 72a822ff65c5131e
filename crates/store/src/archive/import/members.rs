//! What is in a file, by name. A tar is not unpacked: its headers say where each member's bytes are, and a member whose
//! name leads anywhere else is simply never asked for.
//!
//! The headers are walked here, and not by `tar::Archive::entries_with_seek`. That reads a long name whole, whatever length the
//! header claims; its raw mode leaves names to the caller, but passes over the attribute `size` of a pax header, which layers
//! over 8 GiB have. So neither keeps memory bounded and reads all archives.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hubcap_oci::{Algorithm, Digest, Manifest, Verifier};
use rustix::fs::{Mode, OFlags};
use tar::{EntryType, Header, PaxExtensions};

use super::decompress;
use crate::error::Error;
use crate::hash::hash_range;
use crate::permissions;

/// What is read at once, in bytes.
const CHUNK: usize = 1 << 20;
/// A tar's unit, in bytes.
const BLOCK: u64 = 512;
/// The most members that an archive may have; `docker save` writes three for each layer.
const MAX_MEMBERS: usize = 100_000;
/// The longest name or list of attributes before a member, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// How often a link may lead to another one.
const MAX_LINKS: u8 = 8;

/// Bytes of an open file.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Whether anybody may have it, if it is a content of a store.
    pub(super) is_public: bool,
}

impl Member {
    /// Its digest, which is not known before it is read.
    pub(super) fn digest(&self) -> Result<Digest, String> {
        let mut verifier = Verifier::new(Algorithm::Sha256);
        let range = self.offset..self.offset + self.size;
        hash_range(&self.file, range, &mut verifier, |_| {}).map_err(|error| error.to_string())?;
        Ok(verifier.finish())
    }

    /// Reads it piece by piece.
    pub(super) fn each(&self, mut take: impl FnMut(Bytes) -> Result<(), Error>) -> Result<(), Error> {
        let mut done = 0;
        while done < self.size {
            // At most 1 MiB, so the cast cannot cut.
            let mut buffer = BytesMut::zeroed((self.size - done).min(CHUNK as u64) as usize);
            self.file.read_exact_at(&mut buffer, self.offset + done)?;
            done += buffer.len() as u64;
            take(buffer.freeze())?;
        }
        Ok(())
    }
}

/// Where images come from.
pub(super) enum Source {
    Directory(OwnedFd),
    Archive(HashMap<String, Found>),
}

/// A member, or where a link leads.
pub(super) enum Found {
    Member(Member),
    Link(String),
}

impl Source {
    /// Opens a file or a directory. What has to be decompressed is so into `scratch`, where nothing of it stays.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, Error> {
        let bad = |why: String| Error::Import { path: path.to_owned(), why };
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Self::Directory(file.into_parts().0.into()));
        }
        if !metadata.is_file() {
            return Err(bad("it is neither a file nor a directory".into()));
        }
        let mut file = file.into_parts().0;
        if let Some(compression) = decompress::compression(&file)? {
            file = decompress::decompressed(&file, compression, scratch).map_err(bad)?;
        }
        let length = file.metadata()?.len();
        scan(&Arc::new(file), length).map(Self::Archive).map_err(bad)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The bytes under a name; `None` when there are none.
    pub(super) fn member(&self, name: &str) -> Option<Member> {
        match self {
            Self::Directory(root) => {
                let file = open_below(root, &normal("", name)?)?;
                let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
                let is_public = permissions::is_public(metadata.permissions().mode());
                Some(Member { file: Arc::new(file), offset: 0, size: metadata.len(), is_public })
            }
            Self::Archive(members) => {
                let mut name = normal("", name)?;
                for _ in 0..MAX_LINKS {
                    match members.get(&name)? {
                        Found::Member(member) => return Some(member.clone()),
                        Found::Link(to) => name.clone_from(to),
                    }
                }
                None
            }
        }
    }

    /// A small file as a whole. A name may be anything, so errors quote it.
    pub(super) fn small(&self, name: &str) -> Result<Bytes, String> {
        let member = self.member(name).ok_or_else(|| format!("{name:?} is missing"))?;
        if member.size > Manifest::MAX_SIZE as u64 {
            return Err(format!("{name:?} has {} bytes, more than such a file may have", member.size));
        }
        // 4 MiB at most, so the cast cannot cut.
        let mut bytes = vec![0; member.size as usize];
        member.file.read_exact_at(&mut bytes, member.offset).map_err(|error| format!("{name:?}: {error}"))?;
        Ok(bytes.into())
    }
}

/// A file below a directory. No link is followed on the way, since it may lead out of the directory: what is in there is
/// somebody else's, and hubcap may run as root.
fn open_below(root: &OwnedFd, name: &str) -> Option<File> {
    let mut at = root.try_clone().ok()?;
    for part in name.split('/') {
        // Not blocked by a pipe that nobody writes to.
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        at = rustix::fs::openat(&at, part, how, Mode::empty()).ok()?;
    }
    Some(at.into())
}

/// Reads all headers of a tar.
fn scan(file: &Arc<File>, length: u64) -> Result<HashMap<String, Found>, String> {
    let mut members = HashMap::new();
    let mut position = 0;
    let (mut long_name, mut long_link, mut pax_size) = (None, None, None);
    while position + BLOCK <= length {
        let header = read(file, position, BLOCK)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let header = checked(&header, position)?;
        let size = header.entry_size().map_err(|_| format!("the header at byte {position} has no length"))?;
        let kind = header.entry_type();
        let extension = matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        );
        let size = if extension { size } else { pax_size.take().unwrap_or(size) };
        let data = position + BLOCK;
        let end = data.checked_add(size).filter(|end| *end <= length).ok_or_else(|| {
            format!("it is cut short: the member at byte {position} is to have {size} bytes")
        })?;
        position = end.div_ceil(BLOCK) * BLOCK;
        if extension {
            if size > MAX_EXTENSION {
                return Err(format!("a member's name or attributes have {size} bytes"));
            }
            let bytes = read(file, data, size)?;
            match kind {
                EntryType::GNULongName => long_name = Some(text(&bytes)),
                EntryType::GNULongLink => long_link = Some(text(&bytes)),
                EntryType::XHeader => {
                    for record in PaxExtensions::new(&bytes).flatten() {
                        let value = || record.value().map(ToOwned::to_owned).ok();
                        match record.key() {
                            Ok("path") => long_name = value(),
                            Ok("linkpath") => long_link = value(),
                            Ok("size") => pax_size = value().and_then(|size| size.parse().ok()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| text(&header.path_bytes()));
        let link = long_link.take().or_else(|| Some(text(&header.link_name_bytes()?)));
        let found = match (kind, link) {
            (EntryType::Regular | EntryType::Continuous, _) => {
                let is_public = permissions::is_public(header.mode().unwrap_or(0));
                Some(Found::Member(Member { file: Arc::clone(file), offset: data, size, is_public }))
            }
            (EntryType::Symlink, Some(to)) => normal(parent(&name), &to).map(Found::Link),
            (EntryType::Link, Some(to)) => normal("", &to).map(Found::Link),
            _ => None,
        };
        if let (Some(name), Some(found)) = (normal("", &name), found) {
            members.insert(name, found);
            if members.len() > MAX_MEMBERS {
                return Err(format!("it has more than {MAX_MEMBERS} members"));
            }
        }
    }
    Ok(members)
}

fn read(file: &File, at: u64, length: u64) -> Result<Vec<u8>, String> {
    // 1 MiB at most, so the cast cannot cut.
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A header whose checksum is right.
fn checked(block: &[u8], position: u64) -> Result<Header, String> {
    let header = Header::from_byte_slice(block);
    let mut counted = header.clone();
    counted.set_cksum();
    if header.cksum().ok() == counted.cksum().ok() {
        return Ok(header.clone());
    }
    Err(if position == 0 {
        "it is no tar".into()
    } else {
        format!("it is damaged: what is at byte {position} is no tar header")
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A name without `.`, `..` and doubled slashes; `None` when it leads out of the archive.
fn normal(base: &str, name: &str) -> Option<String> {
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(bytes: &[u8]) -> Result<HashMap<String, Found>, String> {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("written");
        scan(&Arc::new(file), bytes.len() as u64)
    }

    fn tar() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["a/short", &format!("a/{}", "long".repeat(60))] {
            let mut header = Header::new_gnu();
            header.set_size(5);
            tar.append_data(&mut header, name, b"bytes".as_slice()).expect("a member");
        }
        tar.into_inner().expect("a tar")
    }

    #[test]
    fn members_are_found_under_short_and_long_names() {
        let found = scanned(&tar()).expect("a tar");
        let long = format!("a/{}", "long".repeat(60));
        for name in ["a/short", &long] {
            assert!(matches!(found.get(name), Some(Found::Member(member)) if member.size == 5), "{name}");
        }
    }

    #[test]
    fn no_changed_byte_makes_the_scanner_panic() {
        let whole = tar();
        for at in 0..whole.len().min(2048) {
            for byte in [0, b'7', 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = scanned(&changed);
                // With a right checksum too, so that what it says is believed.
                let start = at / 512 * 512;
                let mut header = Header::from_byte_slice(&changed[start..start + 512]).clone();
                header.set_cksum();
                changed[start..start + 512].copy_from_slice(header.as_bytes());
                let _ = scanned(&changed);
            }
        }
    }

    #[test]
    fn no_name_leads_out_of_an_archive() {
        assert_eq!(normal("", "./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(normal("a/b", "../../c").as_deref(), Some("c"));
        for name in ["/a", "../a", "a/../../b"] {
            assert_eq!(normal("", name), None, "{name}");
        }
    }
}
