//! Reading a content, committed or still growing, with one type: positional reads of one open file.
//!
//! Not mapped into memory: a file that is cut short under a map is a SIGBUS, here it is an error.

pub(crate) mod tail;
pub(crate) mod verified;

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hubcap_oci::{Digest, Verifier};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::watch;

use crate::hash::hash_range;
use crate::mutex::lock;
use tail::Tail;

/// How many bytes a reader of a growing content stays behind its writer, until the digest is verified: no client
/// ever has all of a wrong content. 16 KiB, one TLS record.
pub const HOLD_BACK: u64 = 16 << 10;

/// The largest piece that is read at once, in bytes: what one segment on loopback carries (65,483 bytes), in four TLS
/// records as well. Of 64 KiB the last 53 bytes would go out as a segment of their own. What is larger leaves the processor's
/// cache before it has gone out.
const CHUNK: u64 = 63 << 10;

/// Why a content will never be complete, as its writer says it.
pub type AbortReason = Arc<dyn std::error::Error + Send + Sync>;

/// How far a content has grown.
#[derive(Debug, Clone)]
pub enum Progress {
    /// So many bytes are written, and not verified.
    Partial(u64),
    /// Complete and verified; so many bytes.
    Done(u64),
    /// It will never be complete.
    Failed {
        /// So many bytes are written.
        written: u64,
        /// Why.
        reason: AbortReason,
    },
}

/// Why a read failed. The client's connection is cut then: it must never look like the end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was being written turned out wrong, or its writer went away without a word.
    #[error("the content could not be completed")]
    Failed,
    /// The writer gave up, and says why.
    #[error("the content could not be completed: {0}")]
    Aborted(AbortReason),
    /// A committed file is shorter than it was.
    #[error("the stored content ends at byte {at} instead of {size}")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// Where it should.
        size: u64,
    },
    /// The disk.
    #[error("the store cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A content: an open file and, while it grows, the news of it. A clone reads the same file.
#[derive(Debug, Clone)]
pub struct Content {
    file: Arc<File>,
    size: Option<u64>,
    growth: Option<Growth>,
}

/// The news of a growing content.
#[derive(Debug, Clone)]
struct Growth {
    progress: watch::Receiver<Progress>,
    tail: Arc<Tail>,
}

impl Growth {
    /// Waits until enough bytes are written, or no more come. What a writer has written before it failed can be read
    /// still, so its failure is told only where that is not enough. A writer that goes away without `Done` has failed:
    /// the channel's end is never the content's.
    async fn wait_for(&mut self, is_enough: impl Fn(u64) -> bool) -> Result<Progress, ReadError> {
        let is_over = |progress: &Progress| match progress {
            Progress::Partial(written) => is_enough(*written),
            Progress::Done(_) | Progress::Failed { .. } => true,
        };
        let progress = self.progress.wait_for(is_over).await.map_err(|_| ReadError::Failed)?;
        match &*progress {
            Progress::Failed { written, .. } if is_enough(*written) => Ok(Progress::Partial(*written)),
            Progress::Failed { reason, .. } => Err(ReadError::Aborted(Arc::clone(reason))),
            progress => Ok(progress.clone()),
        }
    }
}

impl Content {
    pub(crate) const fn committed(file: Arc<File>, size: u64) -> Self {
        Self { file, size: Some(size), growth: None }
    }

    pub(crate) fn growing(
        file: Arc<File>,
        size: Option<u64>,
        progress: watch::Receiver<Progress>,
        tail: Arc<Tail>,
    ) -> Self {
        Self { file, size, growth: Some(Growth { progress, tail }) }
    }

    /// The whole length in bytes; `None` while it grows and nobody told.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Waits until the content is complete and verified, and returns its length.
    ///
    /// # Errors
    /// [`ReadError::Failed`] and [`ReadError::Aborted`] when it never will be.
    pub async fn settled(&mut self) -> Result<u64, ReadError> {
        if let Some(growth) = &mut self.growth
            && let Progress::Done(size) = growth.wait_for(|_| false).await?
        {
            self.size = Some(size);
            self.growth = None;
        }
        self.size.ok_or(ReadError::Failed)
    }

    /// How many bytes are there so far.
    pub fn available(&self) -> u64 {
        match &self.growth {
            Some(growth) => match &*growth.progress.borrow() {
                Progress::Partial(written) | Progress::Done(written) | Progress::Failed { written, .. } => {
                    *written
                }
            },
            None => self.size.unwrap_or(0),
        }
    }

    /// Waits for more than `seen` bytes, or the end of the growth.
    ///
    /// # Errors
    /// [`ReadError::Failed`] and [`ReadError::Aborted`] when the writer has failed.
    pub async fn grown(&mut self, seen: u64) -> Result<u64, ReadError> {
        if let Some(growth) = &mut self.growth {
            growth.wait_for(|written| written > seen).await?;
        }
        Ok(self.available())
    }

    /// A verifier for `digest` that has seen the first `length` bytes, which must have been read already.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] when they are no longer all there.
    pub async fn hashed(&self, digest: &Digest, length: u64) -> Result<Verifier, ReadError> {
        let (file, mut verifier) = (Arc::clone(&self.file), Verifier::new(digest.algorithm()));
        let hash = move || match hash_range(&file, 0..length, &mut verifier, |_| {})? {
            end if end < length => Err(ReadError::Truncated { at: end, size: length }),
            _ => Ok(verifier),
        };
        tokio::task::spawn_blocking(hash).await.map_err(std::io::Error::other)?
    }

    /// Reads the bytes of `range`; `u64::MAX` as its end is the content's own.
    pub fn reader(&self, range: Range<u64>) -> Reader {
        let end = range.end.min(self.size.unwrap_or(u64::MAX));
        let (file, growth) = (Arc::clone(&self.file), self.growth.clone());
        Reader { file, growth, position: range.start, end, spare: Arc::default() }
    }
}

/// Reads one range of a content, in order.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    growth: Option<Growth>,
    position: u64,
    end: u64,
    spare: Arc<Spare>,
}

impl Reader {
    /// The next bytes; `None` at the end of the range.
    ///
    /// # Errors
    /// A [`ReadError`], after which the reader is of no use.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let readable = self.readable().await?;
        let left = readable.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        if let Some(mut chunk) = self.growth.as_ref().and_then(|growth| growth.tail.find(self.position)) {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            self.position += chunk.len() as u64;
            return Ok(Some(chunk));
        }
        // At most a piece, so the cast cannot cut.
        let chunk = self.read(left.min(CHUNK) as usize).await?;
        if chunk.is_empty() {
            return Err(ReadError::Truncated { at: self.position, size: self.end });
        }
        self.position += chunk.len() as u64;
        Ok(Some(chunk))
    }

    /// Up to where bytes may be given out now. Waits until that is past the position, or the end.
    async fn readable(&mut self) -> Result<u64, ReadError> {
        let Some(growth) = &mut self.growth else { return Ok(self.end) };
        let (position, end) = (self.position, self.end);
        let readable = |written: u64| written.saturating_sub(HOLD_BACK).min(end);
        let progress = growth.wait_for(|written| readable(written) > position).await?;
        if let Progress::Partial(written) = progress {
            return Ok(readable(written));
        }
        if let Progress::Done(size) = progress {
            self.growth = None;
            self.end = end.min(size);
        }
        Ok(self.end)
    }

    /// Reads what is in the page cache on this very thread; only what has to come from the disk costs a switch.
    async fn read(&self, wanted: usize) -> Result<Bytes, ReadError> {
        let at = self.position;
        let spare = lock(&self.spare.0).take().filter(|spare| spare.len() >= wanted);
        let mut buffer = spare.unwrap_or_else(|| vec![0; wanted]);
        let into = &mut [IoSliceMut::new(&mut buffer[..wanted])];
        let length = match rustix::io::preadv2(self.file.as_ref(), into, at, ReadWriteFlags::NOWAIT) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => {
                let file = Arc::clone(&self.file);
                let read = move || file.read_at(&mut buffer[..wanted], at).map(|length| (buffer, length));
                let length;
                (buffer, length) =
                    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
                length
            }
            Err(error) => return Err(ReadError::Io(error.into())),
        };
        Ok(Bytes::from_owner(Lent { buffer, length, to: Arc::clone(&self.spare) }))
    }
}

/// A reader's buffer while it is not in use: fresh memory would be filled with zeros first.
#[derive(Debug, Default)]
struct Spare(Mutex<Option<Vec<u8>>>);

/// Bytes in a reader's buffer, which goes back when they have gone out.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
    to: Arc<Spare>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *lock(&self.to.0) = Some(std::mem::take(&mut self.buffer));
    }
}
