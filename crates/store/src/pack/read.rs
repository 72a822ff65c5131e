//! The beginning of a pack, taken into a store.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::directory::{Carried, Directory, Pack, Place, Written};
use super::{MAGIC, MAX_LENGTH, PREFIX};
use crate::archive::restore::Restored;
use crate::error::Error;
use crate::permissions::Readers;
use crate::store::Store;

/// What a pack begins with: its directory, and the contents of its head.
#[derive(Debug)]
pub struct Head {
    directory: Directory,
    /// The head's bytes.
    bytes: Bytes,
}

/// The lengths of a pack's parts, which its first 32 bytes tell.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    directory: u64,
    head: u64,
}

impl Lengths {
    fn read(key: &str, beginning: &[u8]) -> Result<Self, Error> {
        let damaged = |why: &str| Error::Damaged { path: Path::new(key).to_owned(), why: why.to_owned() };
        let number = |at: Range<usize>| {
            let bytes = beginning.get(at)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        if !beginning.starts_with(MAGIC) {
            return Err(damaged("it is no pack of this version"));
        }
        let lengths = number(16..24).zip(number(24..32));
        let (directory, head) = lengths.ok_or_else(|| damaged("it ends within its lengths"))?;
        if directory > MAX_LENGTH || head > MAX_LENGTH {
            return Err(damaged("its directory or its head is longer than any"));
        }
        Ok(Self { directory, head })
    }
}

impl Head {
    /// How many bytes the beginning of the pack `key` has, up to the end of its head. `beginning` are its first 32 bytes, or
    /// more.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what is no pack of this version.
    pub fn length(key: &str, beginning: &[u8]) -> Result<u64, Error> {
        let Lengths { directory, head } = Lengths::read(key, beginning)?;
        Ok(PREFIX + directory + head)
    }

    /// Reads the beginning of the pack `key`, up to the end of its head.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what is no pack of this version, or too short.
    pub fn read(key: &str, beginning: &Bytes) -> Result<Self, Error> {
        let damaged = |why: String| Error::Damaged { path: Path::new(key).to_owned(), why };
        let Lengths { directory, head } = Lengths::read(key, beginning)?;
        let begin = PREFIX + directory;
        if (beginning.len() as u64) < begin + head {
            return Err(damaged(format!("{} bytes are not all of its head", beginning.len())));
        }
        // Within the bytes that are here, so the casts cannot cut.
        let written: Written = serde_json::from_slice(&beginning[PREFIX as usize..begin as usize])
            .map_err(|error| damaged(error.to_string()))?;
        let bytes = beginning.slice(begin as usize..(begin + head) as usize);
        Ok(Self { directory: written.read(Pack { key: key.to_owned(), begin }), bytes })
    }

    /// What the service has.
    pub fn into_directory(self) -> Directory {
        self.directory
    }
}

impl Store {
    /// Takes in the contents of a pack's head, each verified, and the names of images. What is here already stays as it is.
    /// Permission and times are not taken over: registries are asked again before a tag is served.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk takes no more; what has come until then stays.
    pub fn take(&self, head: &Head) -> Result<Restored, Error> {
        let mut restored = Restored::default();
        for (digest, carried) in &head.directory.contents {
            let Carried { size, used, place: Place::Pack { pack: 0, at } } = *carried else { continue };
            let Some(end) = at.checked_add(size).filter(|end| *end <= head.bytes.len() as u64) else {
                continue;
            };
            if self.has(digest) {
                continue;
            }
            // Within the bytes that are here, so the casts cannot cut.
            let bytes = head.bytes.slice(at as usize..end as usize);
            let used = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(used));
            let taken = self.ingest(*digest, Some(size)).and_then(|mut ingest| {
                ingest.write(&bytes)?;
                ingest.mark(Readers::All);
                ingest.commit_as_of(used.unwrap_or(SystemTime::UNIX_EPOCH))
            });
            restored.count(digest, size, taken)?;
        }
        // What came is marked as everybody's by now.
        self.take_names(&head.directory.images, &HashSet::new())?;
        Ok(restored)
    }
}
