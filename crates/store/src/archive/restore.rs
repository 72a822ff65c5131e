//! A store out of its archive, while it is in use: contents become visible one by one, each verified, and what names them
//! when all have come. What the archive's index of other versions says is not needed: everything is in `index.json`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use hubcap_oci::{Compression, Digest, Tag, Target};
use tar::EntryType;

use crate::archive::are_modes_lost;
use crate::archive::headers::{self, Head};
use crate::error::Error;
use crate::layout::image_index::{Entry, ImageIndex};
use crate::layout::{MAX_BESIDE, MODES, digest_of};
use crate::mutex::lock;
use crate::permissions::{DIRECTORY, Modes, Readers};
use crate::store::Store;

/// What is read, and written, at once, in bytes.
const CHUNK: usize = 512 << 10;
/// The longest `index.json`, in bytes: some ten thousand images.
const MAX_INDEX: u64 = 64 << 20;
/// Names that are taken of an archive's `index.json`: a store of 400,000 contents has as many.
const MAX_NAMES: usize = 50_000;

/// What came out of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Contents that are in the store now and were not before.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Contents that were damaged, or for which there is no room.
    pub left_out: u64,
}

impl Restored {
    /// Counts a content of `size` bytes by how it was taken in. Whether it was: one that is damaged, or for which there is no
    /// room, is left out.
    ///
    /// # Errors
    /// Any other error.
    pub(crate) fn count(
        &mut self,
        digest: &Digest,
        size: u64,
        taken: Result<(), Error>,
    ) -> Result<bool, Error> {
        match taken {
            Ok(()) => {
                self.contents += 1;
                self.bytes += size;
                Ok(true)
            }
            Err(error @ (Error::DigestMismatch { .. } | Error::NoRoom { .. })) => {
                self.left_out += 1;
                tracing::warn!(target: "hubcap::store", digest = %digest, "left out of what is restored: {error}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// What is named already, by repository.
#[derive(Default)]
struct Names {
    /// By tag, or as a list of referrers by subject.
    names: HashSet<(Target, Option<Tag>, Option<Digest>)>,
    /// Manifests, by whatever name.
    digests: HashSet<(Target, Digest)>,
}

impl Names {
    fn add(&mut self, entry: &Entry) {
        if entry.tag.is_some() || entry.subject.is_some() {
            self.names.insert((entry.target.clone(), entry.tag.clone(), entry.subject));
        }
        if entry.subject.is_none() {
            self.digests.insert((entry.target.clone(), entry.descriptor.digest));
        }
    }

    fn has_name(&self, entry: &Entry) -> bool {
        self.names.contains(&(entry.target.clone(), entry.tag.clone(), entry.subject))
    }

    /// Whether the entry says nothing new.
    fn has(&self, entry: &Entry) -> bool {
        match (&entry.tag, entry.subject) {
            (None, None) => self.digests.contains(&(entry.target.clone(), entry.descriptor.digest)),
            _ => self.has_name(entry),
        }
    }
}

/// What came out of an archive, and who may have it, as its modes say there.
type Brought = HashMap<Digest, Readers>;

/// A member of an archive, by what it is in a store.
enum Member {
    Content(Digest),
    /// The directory of contents.
    Contents,
    /// What says whether its modes are kept.
    Modes,
    /// `index.json`.
    Index,
    /// A file beside the contents that the caller wants.
    Beside,
}

impl Member {
    /// Archives begin at whatever directory they were made from, so only the ends of names count.
    fn of(path: &Path, kind: EntryType, beside: &[&str]) -> Option<Self> {
        if kind == EntryType::Directory {
            let is_of_contents = path.parent().is_some_and(|parent| parent.ends_with("blobs"));
            return is_of_contents.then_some(Self::Contents);
        }
        if kind != EntryType::Regular {
            return None;
        }
        if path.ancestors().nth(2).is_some_and(|directory| directory.ends_with("blobs")) {
            return digest_of(path).map(Self::Content);
        }
        match path.file_name()?.to_str()? {
            "index.json" => Some(Self::Index),
            MODES => Some(Self::Modes),
            name => beside.contains(&name).then_some(Self::Beside),
        }
    }
}

impl Store {
    /// Takes in an archive of a store, a tar that may be compressed by zstd. What is here already stays as it is. Reads until
    /// the archive ends, however long that takes. `added` is called after each content. Of other files those are taken whose
    /// names are in `beside`, up to 1 MiB each.
    ///
    /// # Errors
    /// [`Error::Io`] when the archive breaks off or the disk takes no more; what has come until then stays.
    pub fn restore(&self, archive: impl Read, beside: &[&str], added: &dyn Fn()) -> Result<Restored, Error> {
        let mut archive = BufReader::with_capacity(CHUNK, archive);
        let mut tar: Box<dyn Read> = match Compression::of(archive.fill_buf()?) {
            Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(archive)?),
            _ => Box::new(archive),
        };
        let (mut restored, mut index, mut brought) = (Restored::default(), None, Brought::new());
        let mut modes = Modes::Unknown;
        while let Some(head) = headers::next(&mut tar)? {
            let (size, path) = (head.size, PathBuf::from(&head.name));
            let mut data = (&mut tar).take(size);
            match Member::of(&path, head.kind, beside) {
                // The directory of contents is its owner's alone, as hubcap makes it.
                Some(Member::Contents) if head.mode & 0o777 == DIRECTORY && modes == Modes::Unknown => {
                    modes = Modes::Kept;
                }
                Some(Member::Modes) => modes = Modes::of(head.mode),
                Some(Member::Content(digest)) if !self.has(&digest) => {
                    let taken = self.take_content(&digest, &head, modes, &mut data);
                    if restored.count(&digest, size, taken)? {
                        brought.insert(digest, Readers::of(head.mode));
                        added();
                    }
                }
                Some(Member::Index) if size <= MAX_INDEX => {
                    match serde_json::from_reader(BufReader::new(&mut data)) {
                        Ok(found) => index = Some(found),
                        Err(error) => {
                            tracing::warn!(target: "hubcap::store", "the archive's {} is damaged: {error}", path.display());
                        }
                    }
                }
                Some(Member::Beside) if size <= MAX_BESIDE => {
                    let (layout, name) = (&self.catalog().layout, path.file_name().unwrap_or_default());
                    let name = name.to_string_lossy();
                    if layout.beside(&name).is_none() {
                        let mut bytes = Vec::new();
                        data.read_to_end(&mut bytes)?;
                        layout.put_beside(&name, &bytes)?;
                    }
                }
                _ => {}
            }
            // What nobody wanted, up to the next header.
            let mut rest = data.limit().saturating_add(headers::padding(size));
            rest -= std::io::copy(&mut (&mut tar).take(rest), &mut std::io::sink())?;
            if rest > 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
            }
        }
        let index = index.unwrap_or_default();
        self.mark_brought(&index, &brought, modes);
        self.take_names(&index, &brought.into_keys().collect())?;
        Ok(restored)
    }

    /// As of when it was written first: it has not been used by anybody here.
    fn take_content(
        &self,
        digest: &Digest,
        head: &Head,
        modes: Modes,
        data: &mut impl Read,
    ) -> Result<(), Error> {
        let size = head.size;
        let since = Duration::from_secs(head.written);
        // A time that there cannot be is none.
        let written = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut ingest = self.ingest(*digest, Some(size))?;
        ingest.allocate(size)?;
        while ingest.written() < size {
            // 512 KiB at most, so the cast cannot cut.
            let mut piece = BytesMut::zeroed((size - ingest.written()).min(CHUNK as u64) as usize);
            data.read_exact(&mut piece)?;
            ingest.write(&piece.freeze())?;
        }
        // That it was imported there says nothing here.
        ingest.mark(match (Readers::of(head.mode), modes) {
            (Readers::All, Modes::Kept) => Readers::All,
            _ => Readers::Granted,
        });
        ingest.commit_as_of(written)
    }

    /// Marks for everybody what was so where the archive comes from, if its modes are kept; else the registry is asked.
    fn mark_brought(&self, found: &ImageIndex, brought: &Brought, modes: Modes) {
        // Of a private manifest that did not come nothing is believed.
        let unless_brought = (modes == Modes::Kept).then_some(Readers::Granted);
        let is_lost =
            are_modes_lost(modes, &found.tops(), |top| brought.get(top).copied().or(unless_brought));
        for (digest, readers) in brought {
            let readers = match readers {
                Readers::All if modes == Modes::Kept && !is_lost => Readers::All,
                _ => Readers::Granted,
            };
            self.catalog().layout.mark(digest, readers);
        }
    }

    /// Adds what an earlier `index.json` says of contents that came with it (`brought`), or that anybody may have: to know the
    /// digest of something else that is here, and to name it, is no permission. What this process has learned since is newer.
    pub(crate) fn take_names(&self, found: &ImageIndex, brought: &HashSet<Digest>) -> Result<(), Error> {
        let may_name = |digest: &Digest| match brought.contains(digest) {
            true => self.has(digest),
            false => self.catalog().layout.readers(digest) == Readers::All,
        };
        let here: Vec<Entry> =
            found.entries().filter(|entry| may_name(&entry.descriptor.digest)).take(MAX_NAMES).collect();
        let mut images = lock(&self.catalog().images);
        let mut known = Names::default();
        for entry in images.entries() {
            known.add(&entry);
        }
        let mut missing = Vec::new();
        for mut entry in here {
            // Where it became private meanwhile, a list may be what the registry tells everybody.
            let is_due = entry.subject.is_none() || entry.private || !self.is_private(&entry.target);
            if entry.tag.is_some() && known.has_name(&entry) {
                entry.tag = None;
            }
            if is_due && !known.has(&entry) {
                known.add(&entry);
                missing.push(entry);
            }
        }
        let mut added = ImageIndex::default();
        added.extend(&missing);
        self.catalog().index.add(&added);
        for entry in &mut missing {
            entry.private |= self.catalog().index.is_private(&entry.target);
        }
        images.extend(&missing);
        self.catalog().layout.keep_index(&images);
        Ok(())
    }
}
