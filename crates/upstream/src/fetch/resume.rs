//! A content's bytes in order: a connection that breaks is resumed at the byte where it broke, and the caller does not
//! notice.

use std::ops::Range;
use std::slice;
use std::time::Duration;

use bytes::Bytes;

use super::source::{Next, Source};
use super::watch::Watch;
use crate::body::BlobBody;
use crate::error::Error;

/// Waits before a broken connection is resumed; when all are used up the fetch has failed.
pub(super) const RESUME_AFTER: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];

/// A connection that brought so many bytes was worth resuming: the waits begin anew.
const PROGRESS: u64 = 256 << 10;

/// The longest content of unknown length, in bytes: a body that never ends must end somewhere.
const MAX_UNKNOWN: u64 = 16 << 30;

/// A fetch that runs.
#[derive(Debug)]
pub struct Fetch<S> {
    source: S,
    body: BlobBody,
    watch: Watch,
    size: Option<u64>,
    /// Where a part ends that is not the content's last.
    part_end: Option<u64>,
    /// The next byte to give out.
    position: u64,
    waits: slice::Iter<'static, Duration>,
    /// Where the present connection began.
    resumed_at: u64,
}

impl<S: Source> Fetch<S> {
    /// Begins at byte `position`.
    ///
    /// # Errors
    /// [`Error`], as the origin's answer means; [`Error::Invalid`] when it says another length than the source does.
    pub async fn begin(source: S, position: u64) -> Result<Self, Error> {
        // What the first origin says is the error, when no other one gives it either.
        let mut told: Option<Error> = None;
        loop {
            let origin = source.origin();
            let opened = source.open(position).await;
            let agreed = opened.and_then(|body| Ok((agree(source.size(), body.size)?, body)));
            let error = match agreed {
                Ok((size, body)) => return Ok(Self::new(source, body, size, position)),
                Err(error) => error,
            };
            let next = source.leave(origin, &error);
            if origin == 0 || told.is_none() {
                told = Some(error.clone());
            }
            if next != Next::Fresh {
                return Err(told.unwrap_or(error));
            }
        }
    }

    /// Begins a part of a content of `size` bytes, where that is known. An origin that ignores ranges is asked for a part
    /// at the content's start only, and then gives the whole.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Invalid`] when the origin does not give exactly this part.
    pub(super) async fn begin_part(source: S, part: Range<u64>, size: Option<u64>) -> Result<Self, Error> {
        let body = source.open_part(part.clone()).await?;
        let size = agree(size, body.size)?;
        let part_end = body.is_partial().then(|| size.map_or(part.end, |size| part.end.min(size)));
        Ok(Self { part_end, ..Self::new(source, body, size, part.start) })
    }

    fn new(source: S, body: BlobBody, size: Option<u64>, position: u64) -> Self {
        let (watch, waits) = (Watch::new(body.origin), RESUME_AFTER.iter());
        Self { source, body, watch, size, part_end: None, position, waits, resumed_at: position }
    }

    /// What is fetched.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The origin that the present connection is to.
    pub(super) const fn origin(&self) -> usize {
        self.watch.origin()
    }

    /// Where the next byte belongs.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The content's whole length in bytes, where the source or its origin knows it.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Where the fetch ends before the content's end.
    pub(super) const fn part_end(&self) -> Option<u64> {
        self.part_end
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks and cannot be resumed, [`Error::Invalid`] for a body that is too
    /// long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.next().await {
                Err(error) if error.is_transient() || self.source.has_others() => self.resume(error).await?,
                answered => return answered,
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let end = self.part_end.or(self.size);
        // Once everything that is wanted is here, what the connection does is its own affair.
        while end.is_none_or(|end| self.position < end) {
            let left = end.map(|end| end - self.position);
            let Some(mut chunk) = self.watch.chunk(&self.source, &mut self.body, left).await? else {
                return match end {
                    Some(end) => {
                        Err(Error::unavailable(format!("the body ended at byte {} of {end}", self.position)))
                    }
                    None => Ok(None),
                };
            };
            // An origin that ignores ranges starts again at zero: bytes that were given out already are skipped.
            let begin = self.body.position - chunk.len() as u64;
            let known = self.position.saturating_sub(begin).min(chunk.len() as u64);
            // At most the chunk's own length, so the cast cannot cut.
            let mut chunk = chunk.split_off(known as usize);
            let left = end.map_or(u64::MAX, |end| end - self.position);
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if chunk.is_empty() {
                continue;
            }
            self.position += chunk.len() as u64;
            if self.position > MAX_UNKNOWN && end.is_none() {
                return Err(Error::invalid("it does not end"));
            }
            return Ok(Some(chunk));
        }
        Ok(None)
    }

    /// Goes on at another origin at once, or at this one after a while.
    async fn resume(&mut self, mut error: Error) -> Result<(), Error> {
        if self.position >= self.resumed_at + PROGRESS {
            self.waits = RESUME_AFTER.iter();
        }
        let (mut origin, mut is_broken) = (self.origin(), true);
        loop {
            let next = if self.may_leave(&error, is_broken) {
                self.source.leave(origin, &error)
            } else {
                Next::Same
            };
            if next == Next::Same && !error.is_transient() {
                return Err(error);
            }
            if next != Next::Fresh {
                let Some(wait) = self.waits.next() else { return Err(error) };
                tokio::time::sleep(*wait).await;
            }
            tracing::debug!(target: "hubcap::fetch", source = %self.source,
                "resuming the fetch at byte {}: {error}", self.position);
            origin = self.source.origin();
            let opened = match self.part_end {
                Some(end) => self.source.open_part(self.position..end).await,
                None => self.source.open(self.position).await,
            };
            match opened.and_then(|body| agree(self.size, body.size).map(|_| body)) {
                Ok(body) => {
                    self.watch = Watch::new(body.origin);
                    self.body = body;
                    self.resumed_at = self.position;
                    return Ok(());
                }
                Err(again) => (error, is_broken) = (again, false),
            }
        }
    }

    /// Whether an error is the origin's own. One connection more than needed that breaks or is refused says little of it; one
    /// that cannot be opened at all, or that crawls, does.
    fn may_leave(&self, error: &Error, is_broken: bool) -> bool {
        match error {
            Error::Crawls => true,
            Error::Unavailable { .. } | Error::Failed { .. } => self.part_end.is_none() || !is_broken,
            _ => self.part_end.is_none(),
        }
    }
}

/// The one length that two sources say.
fn agree(known: Option<u64>, told: Option<u64>) -> Result<Option<u64>, Error> {
    match (known, told) {
        (Some(known), Some(told)) if known != told => {
            Err(Error::invalid(format!("it should have {known} bytes, and the upstream says {told}")))
        }
        (known, told) => Ok(known.or(told)),
    }
}
