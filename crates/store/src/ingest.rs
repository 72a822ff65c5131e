//! A content that is being written: hashed as it comes, followed by any number of readers, visible under its name
//! only after its digest was verified.

mod extents;
mod hasher;

use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use fs_err as fs;
use hubcap_oci::{Digest, Target, Verifier};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::content::Content;
use crate::content::growth::Progress;
use crate::content::original::{Original, Written};
use crate::content::tail::Tail;
use crate::error::Error;
use crate::evict::Evictor;
use crate::evict::reservation::Reservation;
use crate::hash::hash_range;
use crate::index::{By, Word};
use crate::permissions::{self, Readers};
use extents::Extents;
use hasher::Hasher;

/// Room for which something goes at a time, in bytes, at least.
const LEAST: u64 = 64 << 10;
/// Room that is taken at a time where nothing has to go for it, in bytes; for a content whose length was told, as much as has come where that is more. Only that it
/// will fit is promised at once: what a registry tells of a length need not come.
const STEP: u64 = 16 << 20;

/// Names of files in `ingest/`: two fetches of one digest never share one.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The one writer of a content. Dropped without [`commit`](Self::commit), it takes back what it wrote, and its
/// readers fail.
#[derive(Debug)]
pub struct Ingest {
    catalog: Arc<Catalog>,
    expected: Digest,
    file: Arc<File>,
    partial: Partial,
    /// The repository that the registry gives it for, where that is to be remembered.
    giver: Option<Target>,
    hasher: Hasher,
    /// Bytes that are there without a gap.
    written: u64,
    /// Bytes that were written.
    come: u64,
    extents: Extents,
    tail: Arc<Tail>,
    progress: watch::Sender<Progress>,
    reservation: Reservation,
    /// The file after the last write.
    stamp: Written,
    /// For its readers; knows also whether somebody else has written to the file.
    original: Original,
}

/// Tells an ingest's readers why it failed. While this lives they wait for that, even when the ingest is dropped.
#[derive(Debug, Clone)]
pub struct Aborter(watch::Sender<Progress>);

impl Aborter {
    /// How many contents and readers of the ingest there are, clones included.
    pub fn readers(&self) -> usize {
        self.0.receiver_count()
    }

    /// Bytes that are there so far without a gap.
    pub fn written(&self) -> u64 {
        self.0.borrow().written()
    }

    /// Fails the readers, unless the content is complete or another reason was told before.
    pub fn abort(&self, reason: impl std::error::Error + Send + Sync + 'static) {
        self.0.send_if_modified(|progress| {
            let Progress::Partial(written) = *progress else { return false };
            *progress = Progress::Failed { written, reason: Arc::new(reason) };
            true
        });
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
    /// Makes room for a content, where its `size` is known, and opens a file for it.
    pub(crate) fn begin(
        catalog: &Arc<Catalog>,
        evictor: &Arc<Evictor>,
        expected: Digest,
        size: Option<u64>,
    ) -> Result<Self, Error> {
        let mut reservation = Reservation::new(evictor, expected);
        reservation.promise(size.unwrap_or(0))?;
        reservation.grow(0, size.unwrap_or(0).min(STEP))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = catalog.layout.ingests().join(format!("{}.{number}", expected.hex()));
        let options = permissions::new_content();
        let file = fs::OpenOptions::from_options(options).create_new(true).read(true).open(&path)?;
        let (file, path) = file.into_parts();
        Ok(Self {
            stamp: Written::of_open(&file)?,
            original: Original::begun(expected),
            catalog: Arc::clone(catalog),
            expected,
            file: Arc::new(file),
            partial: Partial(Some(path)),
            giver: None,
            hasher: Hasher::new(expected.algorithm()),
            written: 0,
            come: 0,
            extents: Extents::default(),
            tail: Arc::default(),
            progress: watch::Sender::new(Progress::Partial(0)),
            reservation,
        })
    }

    /// Finds out whether the whole length fits, and takes room on the disk for its beginning, so that a full disk is met before
    /// the first byte.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Io`] when the disk is full.
    pub fn allocate(&mut self, size: u64) -> Result<(), Error> {
        self.reservation.promise(size)?;
        self.take_room(0, size.min(STEP))
    }

    /// Makes room for so many bytes altogether, more where nothing has to go for that, and takes it on the disk.
    fn take_room(&mut self, least: u64, most: u64) -> Result<(), Error> {
        let room = self.reservation.bytes();
        self.reservation.grow(least.saturating_sub(room), most.saturating_sub(room))?;
        if self.reservation.untaken() == 0 {
            return Ok(());
        }
        // What comes out of order is beyond that; mostly it comes in order.
        match allocate(&self.file, self.reservation.bytes()) {
            // How long it gets is not known: perhaps that fits.
            Err(_) if self.reservation.promised() == 0 => {}
            taken => {
                taken?;
                self.reservation.take();
            }
        }
        self.stamp = Written::of_open(&self.file)?;
        Ok(())
    }

    /// Looks whether somebody else has written to the file: what is hashed comes from the network, what is read from the file.
    fn look_for_changes(&self) -> Result<(), Error> {
        if Written::of_open(&self.file)? != self.stamp {
            self.original.doubt();
        }
        Ok(())
    }

    /// Has the file be from `modified`, to the nanosecond. The clocks of file systems go in steps: what somebody else writes in
    /// the step of the last write would not show otherwise.
    fn set_modified(&mut self, modified: SystemTime) -> Result<(), Error> {
        self.look_for_changes()?;
        if let Err(error) = self.file.set_modified(modified) {
            tracing::debug!(target: "hubcap::store", "{} keeps its own time: {error}", self.expected);
        }
        self.stamp = Written::of_open(&self.file)?;
        Ok(())
    }

    /// The digest of what is in the file, while that is as the stamp says.
    fn digest(&mut self) -> Result<Digest, Error> {
        let hashed = self.hasher.finish()?;
        self.look_for_changes()?;
        if !self.original.is_changed() {
            return Ok(hashed);
        }
        self.stamp = Written::of_open(&self.file)?;
        let mut verifier = Verifier::new(self.expected.algorithm());
        hash_range(&self.file, 0..u64::MAX, &mut verifier, |_| {})?;
        Ok(verifier.finish())
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
        self.look_for_changes()?;
        self.come += end - offset;
        if self.come > self.reservation.bytes() {
            // For what goes for it, nobody's word counts: as much again as has come.
            let least = (2 * self.come).max(LEAST);
            let (least, most) = match self.reservation.promised() {
                size if size >= self.come => (least.min(size), least.max(STEP).min(size)),
                _ => (least, least.max(self.come + STEP)),
            };
            self.take_room(least, most)?;
        }
        write_all(&self.file, pieces, offset)?;
        self.stamp = Written::of_open(&self.file)?;
        if offset != self.written {
            self.extents.add(offset..end);
            return Ok(());
        }
        for piece in pieces {
            self.hasher.update(piece, &self.file, self.written)?;
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
        let (news, tail) = (self.progress.subscribe(), Arc::clone(&self.tail));
        Content::growing(Arc::clone(&self.file), size, news, tail, self.original.clone())
    }

    /// What tells the readers why the ingest fails, if it does.
    pub fn aborter(&self) -> Aborter {
        Aborter(self.progress.clone())
    }

    /// Has the commit remember that the registry gave it for this repository. Not before: only a digest that is right shows that
    /// the registry has it. Not later: who sees its end relies on the store having it.
    pub(crate) fn link(&mut self, target: &Target) {
        self.giver = Some(target.clone());
    }

    /// Notes who may have the content. Before the commit, so that a kill leaves no content without its mark.
    pub(crate) fn mark(&self, readers: Readers) {
        if let Err(error) = permissions::mark_open(&self.file, readers) {
            tracing::warn!(target: "hubcap::store", "who may have {} is not noted: {error}", self.expected);
        }
    }

    /// Verifies the digest and makes the content visible: the only way into `blobs/`.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], after which nothing of it is left; [`Error::Io`].
    pub fn commit(mut self) -> Result<Content, Error> {
        self.add(SystemTime::now())?;
        self.catalog.index.used(&self.expected);
        Ok(self.done())
    }

    /// The same for a content that was written at another time, and that no client has asked for since the start.
    pub(crate) fn commit_as_of(mut self, written: SystemTime) -> Result<(), Error> {
        self.add(written)?;
        self.done();
        Ok(())
    }

    fn add(&mut self, modified: SystemTime) -> Result<(), Error> {
        if self.reservation.bytes() > self.written {
            // Gives back what was taken from the disk for more.
            self.look_for_changes()?;
            self.file.set_len(self.written)?;
            self.stamp = Written::of_open(&self.file)?;
        }
        self.set_modified(modified)?;
        let actual = self.digest()?;
        if actual != self.expected {
            let (expected, actual) = (Box::new(self.expected), Box::new(actual));
            return Err(Error::DigestMismatch { expected, actual });
        }
        if let Some(target) = &self.giver {
            self.catalog.index.own(target, &self.expected, None, By::Registry, Word::Registry);
        }
        if let Some(path) = &self.partial.0 {
            self.catalog.add(path, &self.expected, self.written, self.stamp)?;
        }
        self.partial.0 = None;
        Ok(())
    }

    /// Tells the readers, who may rely on the store having it then. The reservation goes first: the content counts as stored
    /// already, and counted twice it would push out others.
    fn done(self) -> Content {
        let Self { expected, file, written, tail, progress, reservation, stamp, original, .. } = self;
        drop(reservation);
        // Before the end is told: a reader looks at it as soon as it knows the end.
        original.complete(stamp);
        progress.send_replace(Progress::Done(written));
        tail.clear();
        // Who begins to read now has read nothing of what somebody else may have written meanwhile.
        let original = Original::whole(expected, stamp);
        Content::committed(file, written, original)
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
