//! What is in a file, by name. A tar is not unpacked: its headers say where each member's bytes are, and a member whose
//! name leads anywhere else is simply never asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use hubcap_oci::{Algorithm, Digest, Manifest, Verifier};
use rustix::fs::{Mode, OFlags};
use tar::EntryType;

use super::decompress;
use crate::archive::headers::{self, Head};
use crate::error::Error;
use crate::hash::hash_range;
use crate::layout::MODES;
use crate::permissions::{Modes, Readers};

/// What is read at once, in bytes, of a member, and of headers: what is between these is passed over.
const CHUNK: usize = 1 << 20;
const HEADERS: usize = 4096;
/// The most members that an archive may have; `docker save` writes three for each layer.
const MAX_MEMBERS: usize = 100_000;
/// How many bytes their names may have together.
const MAX_NAMES: usize = 64 << 20;
/// How often a link may lead to another one.
const MAX_LINKS: u8 = 8;

/// Bytes of an open file.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Who may have it, if it is a content of a store.
    pub(super) readers: Readers,
}

/// Where a member's bytes are: device, file, and the first byte there. The same place has the same bytes.
pub(super) type Place = (u64, u64, u64);

impl Member {
    /// Where it is.
    pub(super) fn place(&self) -> Result<Place, String> {
        let metadata = self.file.metadata().map_err(|error| error.to_string())?;
        Ok((metadata.dev(), metadata.ino(), self.offset))
    }

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

    /// Reads it, and finds out whether it has this digest.
    pub(super) fn verify(&self, digest: &Digest) -> Result<(), Error> {
        let mut verifier = Verifier::new(digest.algorithm());
        self.each(|piece| {
            verifier.update(&piece);
            Ok(())
        })?;
        let actual = verifier.finish();
        match actual == *digest {
            true => Ok(()),
            false => Err(Error::DigestMismatch { expected: Box::new(*digest), actual: Box::new(actual) }),
        }
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
    /// Opens a file or a directory. What has to be decompressed is so into `scratch`, where nothing of it stays, and where so many
    /// bytes may be used.
    pub(super) fn open(
        path: &Path,
        scratch: &Path,
        room: impl FnOnce() -> Result<u64, Error>,
    ) -> Result<Self, Error> {
        let bad = |why: String| Error::Import { path: path.to_owned(), why };
        // Not blocked by a pipe that nobody writes to.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Self::Directory(file.into_parts().0.into()));
        }
        if !metadata.is_file() {
            return Err(bad("it is neither a file nor a directory".into()));
        }
        let mut file = file.into_parts().0;
        if let Some(compression) = decompress::compression(&file)? {
            file = decompress::decompressed(&file, compression, scratch, room()?).map_err(bad)?;
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
                let readers = Readers::of(metadata.permissions().mode());
                Some(Member { file: Arc::new(file), offset: 0, size: metadata.len(), readers })
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

    /// Whether the modes of a store's contents can be believed.
    pub(super) fn modes(&self) -> Modes {
        match self.member(MODES).map(|member| member.readers) {
            None => Modes::Unknown,
            Some(Readers::Granted) => Modes::Kept,
            Some(_) => Modes::Lost,
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
    let (mut members, mut names) = (HashMap::new(), 0);
    let mut tar = BufReader::with_capacity(HEADERS, &**file);
    tar.rewind().map_err(|error| error.to_string())?;
    loop {
        let position = tar.stream_position().map_err(|error| error.to_string())?;
        let head = headers::next(&mut tar).map_err(|error| match (error.kind(), position) {
            (ErrorKind::UnexpectedEof, _) => format!("it is cut short at byte {position}"),
            (_, 0) => format!("it is no tar: {error}"),
            _ => format!("it is damaged at byte {position}: {error}"),
        })?;
        let Some(Head { name, link, kind, size, mode, .. }) = head else { return Ok(members) };
        let data = tar.stream_position().map_err(|error| error.to_string())?;
        let end = data.checked_add(size).filter(|end| *end <= length).ok_or_else(|| {
            format!("it is cut short: the member at byte {position} is to have {size} bytes")
        })?;
        tar.seek(SeekFrom::Start(end + headers::padding(size))).map_err(|error| error.to_string())?;
        let found = match (kind, link) {
            (EntryType::Regular | EntryType::Continuous, _) => {
                let readers = Readers::of(mode);
                Some(Found::Member(Member { file: Arc::clone(file), offset: data, size, readers }))
            }
            (EntryType::Symlink, Some(to)) => normal(parent(&name), &to).map(Found::Link),
            (EntryType::Link, Some(to)) => normal("", &to).map(Found::Link),
            _ => None,
        };
        if let (Some(name), Some(found)) = (normal("", &name), found) {
            names += name.len();
            if let Found::Link(to) = &found {
                names += to.len();
            }
            members.insert(name, found);
            if members.len() > MAX_MEMBERS {
                return Err(format!("it has more than {MAX_MEMBERS} members"));
            }
            if names > MAX_NAMES {
                return Err(format!("the names of its members have more than {MAX_NAMES} bytes"));
            }
        }
    }
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

    #[test]
    fn a_pipe_to_which_nobody_writes_is_no_archive_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let (opened, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            opened.send(Source::open(&path, &path, || Ok(0)).err().map(|error| error.to_string()))
        });
        let error = told.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer");
        assert!(error.is_some_and(|error| error.contains("neither a file nor a directory")));
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
