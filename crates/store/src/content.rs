//! A content, committed or still growing, as one type.

pub(crate) mod growth;
pub(crate) mod original;
pub(crate) mod reader;
pub(crate) mod tail;
pub(crate) mod verified;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use hubcap_oci::{Digest, Verifier};
use tokio::sync::watch;

use crate::hash::hash_range;
use growth::{Growth, Progress, ReadError};
use original::Original;
use reader::Reader;
use tail::Tail;

/// A content: an open file and, while it grows, the news of it. A clone reads the same file.
#[derive(Debug, Clone)]
pub struct Content {
    file: Arc<File>,
    size: Option<u64>,
    growth: Option<Growth>,
    original: Original,
}

impl Content {
    pub(crate) const fn committed(file: Arc<File>, size: u64, original: Original) -> Self {
        Self { file, size: Some(size), growth: None, original }
    }

    pub(crate) fn growing(
        file: Arc<File>,
        size: Option<u64>,
        progress: watch::Receiver<Progress>,
        tail: Arc<Tail>,
        original: Original,
    ) -> Self {
        Self { file, size, growth: Some(Growth { progress, tail }), original }
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
        self.wait_for(|_| false).await?;
        self.size.ok_or(ReadError::Failed)
    }

    /// How many bytes are there so far.
    pub fn available(&self) -> u64 {
        match &self.growth {
            Some(growth) => growth.progress.borrow().written(),
            None => self.size.unwrap_or(0),
        }
    }

    /// Waits for more than `seen` bytes, or the end of the growth, which tells the length.
    ///
    /// # Errors
    /// [`ReadError::Failed`] and [`ReadError::Aborted`] when the writer has failed.
    pub async fn grown(&mut self, seen: u64) -> Result<u64, ReadError> {
        self.wait_for(|written| written > seen).await?;
        Ok(self.available())
    }

    async fn wait_for(&mut self, is_enough: impl Fn(u64) -> bool) -> Result<(), ReadError> {
        if let Some(growth) = &mut self.growth
            && let Progress::Done(size) = growth.wait_for(is_enough).await?
        {
            self.size = Some(size);
            self.growth = None;
        }
        Ok(())
    }

    /// A verifier for `digest` that has seen the first `length` bytes, which must have been read already.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] when they are no longer all there, [`ReadError::Changed`] when what was read of them is known
    /// not to be what is there now.
    pub async fn hashed(&self, digest: &Digest, length: u64) -> Result<Verifier, ReadError> {
        let (file, mut verifier) = (Arc::clone(&self.file), Verifier::new(digest.algorithm()));
        let hash = move || match hash_range(&file, 0..length, &mut verifier, |_| {})? {
            end if end < length => Err(ReadError::Truncated { at: end, size: length }),
            _ => Ok(verifier),
        };
        let hashed = tokio::task::spawn_blocking(hash).await.map_err(std::io::Error::other)?;
        if self.original.is_changed() { Err(ReadError::Changed) } else { hashed }
    }

    /// Reads the bytes of `range`; `u64::MAX` as its end is the content's own.
    pub fn reader(&self, range: Range<u64>) -> Reader {
        let end = range.end.min(self.size.unwrap_or(u64::MAX));
        Reader::new(Arc::clone(&self.file), self.growth.clone(), self.original.clone(), range.start..end)
    }
}
