//! A content that is being written: hashed as it comes, followed by any number of readers, visible under its name
//! only after its digest was verified.

pub(crate) mod hasher;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use fs_err as fs;
use hubcap_oci::Digest;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::budget::Reservation;
use crate::content::tail::Tail;
use crate::content::{Content, Progress};
use crate::error::Error;
use crate::ingest::hasher::Hasher;
use crate::mutex::lock;
use crate::store::Store;

/// What is promised at a time to a content whose length nobody told, in bytes.
const STEP: u64 = 16 << 20;

/// Names of files in `ingest/`: two fetches of one digest never share one.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The one writer of a content. Dropped without [`commit`](Self::commit), it takes back what it wrote, and its
/// readers fail.
#[derive(Debug)]
pub struct Ingest {
    expected: Digest,
    file: Arc<File>,
    partial: Partial,
    destination: PathBuf,
    hasher: Hasher,
    /// Bytes that are there without a gap.
    written: u64,
    extents: Extents,
    tail: Arc<Tail>,
    progress: watch::Sender<Progress>,
    reservation: Reservation,
    flight: InFlight,
}

/// Tells an ingest's readers why it failed. While this lives they wait for that, even when the ingest is dropped.
#[derive(Debug, Clone)]
pub struct Aborter(watch::Sender<Progress>);

impl Aborter {
    /// Fails the readers, unless the content is complete or another reason was told before.
    pub fn abort(&self, reason: impl std::error::Error + Send + Sync + 'static) {
        self.0.send_if_modified(|progress| {
            let Progress::Partial(written) = *progress else { return false };
            *progress = Progress::Failed { written, reason: Arc::new(reason) };
            true
        });
    }
}

/// While this lives the content's image is not removed.
#[derive(Debug)]
struct InFlight(Store, Digest);

impl InFlight {
    fn begin(store: &Store, digest: Digest) -> Self {
        *lock(&store.0.in_flight).entry(digest).or_default() += 1;
        Self(store.clone(), digest)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut flights = lock(&self.0.0.in_flight);
        if let Some(count) = flights.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                flights.remove(&self.1);
            }
        }
    }
}

/// The file in `ingest/`, removed unless it was renamed.
#[derive(Debug)]
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(target: "hubcap::store", "a partial content could not be removed: {error}");
        }
    }
}

impl Ingest {
    pub(crate) fn begin(store: &Store, expected: Digest, size: Option<u64>) -> Result<Self, Error> {
        let flight = InFlight::begin(store, expected);
        let reservation = store.reserve(size.unwrap_or(0))?;
        let layout = &store.0.layout;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = layout.ingests().join(format!("{}.{number}", expected.hex()));
        let file = fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        let (file, path) = file.into_parts();
        let partial = Partial(Some(path));
        Ok(Self {
            expected,
            file: Arc::new(file),
            partial,
            destination: layout.blob(&expected),
            hasher: Hasher::new(expected.algorithm()),
            written: 0,
            extents: Extents::default(),
            tail: Arc::default(),
            progress: watch::Sender::new(Progress::Partial(0)),
            reservation,
            flight,
        })
    }

    /// Takes room on the disk for the whole length, so that a full disk is met before the first byte.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Io`] when the disk is full.
    pub fn allocate(&mut self, size: u64) -> Result<(), Error> {
        self.reservation.grow(size.saturating_sub(self.reservation.bytes()))?;
        if size > 0 {
            allocate(&self.file, size)?;
        }
        Ok(())
    }

    /// Appends, hashes, and tells the readers.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them, and [`Error::NoRoom`]; the ingest is of no use then.
    pub fn write(&mut self, bytes: &Bytes) -> Result<(), Error> {
        self.write_at(self.written, std::slice::from_ref(bytes))
    }

    /// Writes pieces that follow each other at their place. What is not next yet is hashed, and shown to readers, when
    /// everything before it is there; it is read again from the file for that, so memory stays flat.
    ///
    /// Several at a time cost less, and what is read of the file later does too: the system keeps it in units as large as
    /// it was written.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_at(&mut self, offset: u64, pieces: &[Bytes]) -> Result<(), Error> {
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if end > self.reservation.bytes() {
            let missing = end - self.reservation.bytes();
            self.reservation.grow(missing.max(STEP))?;
        }
        write_all(&self.file, pieces, offset)?;
        if offset != self.written {
            self.extents.add(offset..end);
            return Ok(());
        }
        for piece in pieces {
            self.hasher.update(piece, (&self.file, self.written))?;
            self.tail.keep(self.written, piece);
            self.written += piece.len() as u64;
        }
        if let Some(end) = self.extents.take_from(self.written) {
            self.hasher.update_from(&self.file, self.written..end)?;
            self.written = end;
        }
        self.progress.send_replace(Progress::Partial(self.written));
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The content as its readers follow it. `size` is its whole length, where the upstream told it.
    pub fn content(&self, size: Option<u64>) -> Content {
        let news = (self.progress.subscribe(), Arc::clone(&self.tail));
        Content::growing(Arc::clone(&self.file), size, news)
    }

    /// What tells the readers why the ingest fails, if it does.
    pub fn aborter(&self) -> Aborter {
        Aborter(self.progress.clone())
    }

    /// Verifies the digest and makes the content visible: the only way into `blobs/`.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], after which nothing of it is left; [`Error::Io`].
    pub fn commit(self) -> Result<Content, Error> {
        let (store, digest) = (self.flight.0.clone(), self.expected);
        self.settle(|| store.0.index.used(&digest))
    }

    /// The same for a content that was written at another time, and that nobody has asked for since the start.
    pub(crate) fn commit_as_of(self, written: SystemTime) -> Result<(), Error> {
        self.file.set_modified(written)?;
        self.settle(|| ()).map(drop)
    }

    fn settle(mut self, visible: impl FnOnce()) -> Result<Content, Error> {
        let actual = self.hasher.finish()?;
        if actual != self.expected {
            let (expected, actual) = (Box::new(self.expected), Box::new(actual));
            return Err(Error::DigestMismatch { expected, actual });
        }
        let store = &self.flight.0;
        // One that is there already, from another flight or before a change on the disk, is replaced.
        let replaced = std::fs::metadata(&self.destination).map_or(0, |metadata| metadata.len());
        if let Some(path) = self.partial.0.take()
            && let Err(error) = fs::rename(&path, &self.destination)
        {
            self.partial.0 = Some(path);
            return Err(error.into());
        }
        store.grown_by(self.written);
        store.shrunk_by(replaced);
        store.0.verified.note(&self.expected);
        visible();
        // Only now: a reader that sees Done may rely on the store having it.
        self.progress.send_replace(Progress::Done(self.written));
        self.tail.clear();
        Ok(Content::committed_shared(Arc::clone(&self.file), self.written))
    }
}

/// Pieces beyond the first gap, by where they begin. There are as many as connections, and no more.
#[derive(Debug, Default)]
struct Extents(BTreeMap<u64, u64>);

impl Extents {
    fn add(&mut self, piece: Range<u64>) {
        let before = self.0.range_mut(..=piece.start).next_back();
        match before {
            Some((_, end)) if *end == piece.start => *end = piece.end,
            _ => drop(self.0.insert(piece.start, piece.end)),
        }
    }

    /// Where the pieces end that follow each other from `start` on.
    fn take_from(&mut self, start: u64) -> Option<u64> {
        let mut end = self.0.remove(&start)?;
        while let Some(next) = self.0.remove(&end) {
            end = next;
        }
        Some(end)
    }
}

fn write_all(file: &File, pieces: &[Bytes], mut offset: u64) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    // What is empty is nothing to write, and would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match rustix::io::pwritev(file, rest, offset) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes room on the disk. A file system that cannot do that will tell when it is full.
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
