//! Reading a range of a content: positional reads of one open file.
//!
//! Not mapped into memory: a file that is cut short under a map is a SIGBUS, here it is an error.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::growth::{Growth, Progress, ReadError};
use super::original::Original;
use crate::mutex::lock;

/// How many bytes a reader of a growing content stays behind its writer, until the digest is verified: no client
/// ever has all of a wrong content. 16 KiB, one TLS record.
pub const HOLD_BACK: u64 = 16 << 10;

/// The largest piece that is read at once, in bytes: what one segment on loopback carries (65,483 bytes), in four TLS
/// records as well. Of 64 KiB the last 53 bytes would go out as a segment of their own. What is larger leaves the processor's
/// cache before it has gone out.
const CHUNK: u64 = 63 << 10;

/// Reads one range of a content, in order.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    growth: Option<Growth>,
    original: Original,
    position: u64,
    end: u64,
    spare: Arc<Spare>,
}

impl Reader {
    pub(super) fn new(
        file: Arc<File>,
        growth: Option<Growth>,
        original: Original,
        range: Range<u64>,
    ) -> Self {
        Self { file, growth, original, position: range.start, end: range.end, spare: Arc::default() }
    }

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
        let chunk = match self.growth.as_ref().and_then(|growth| growth.tail.find(self.position)) {
            Some(mut chunk) => {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                chunk
            }
            // At most a piece, so the cast cannot cut.
            None => self.read(left.min(CHUNK) as usize).await?,
        };
        if chunk.is_empty() {
            return Err(ReadError::Truncated { at: self.position, size: self.end });
        }
        self.position += chunk.len() as u64;
        if self.position >= self.end {
            // Once, and after the last bytes were read: all that was given out was read before it as well.
            self.original.ensure(&self.file)?;
        }
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
