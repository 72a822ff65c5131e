//! A blob's bytes from its upstream, in order, over as many connections as it takes: one that breaks is taken up again
//! where it was, and nobody above notices.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::{Digest, Target};
use hubcap_upstream::{BlobBody, Upstream};

use crate::error::Error;

/// Waits before a broken connection is taken up again; when all are used up the fetch has failed.
pub(crate) const RESUME_AFTER: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];

/// A connection that brought so many bytes was worth taking up: the waits begin anew.
const PROGRESS: u64 = 256 << 10;

/// The longest blob whose length nobody told, in bytes: a body that never ends must end somewhere.
const MAX_UNTOLD: u64 = 16 << 30;

/// A fetch that runs.
#[derive(Debug)]
pub(crate) struct Fetch {
    upstream: Upstream,
    target: Target,
    digest: Digest,
    body: BlobBody,
    size: Option<u64>,
    /// Where a part ends that is not the blob's last.
    part_end: Option<u64>,
    /// The next byte to hand over.
    position: u64,
    waits: std::slice::Iter<'static, Duration>,
    /// Where the present connection began.
    taken_up_at: u64,
}

impl Fetch {
    /// Begins at byte `position`. `size` is what the repository's manifest says, where that is known.
    ///
    /// # Errors
    /// [`Error`], as the upstream's answer means; [`Error::WrongContent`] when it tells another length.
    pub(crate) async fn begin(
        upstream: Upstream,
        (target, digest): (&Target, &Digest),
        (position, size): (u64, Option<u64>),
    ) -> Result<Self, Error> {
        let body = upstream.blob(&target.repository, digest, position).await?;
        let size = agree(size, body.size)?;
        let (target, digest, waits) = (target.clone(), *digest, RESUME_AFTER.iter());
        Ok(Self {
            upstream,
            target,
            digest,
            body,
            size,
            part_end: None,
            position,
            waits,
            taken_up_at: position,
        })
    }

    /// Begins a part of a blob of `size` bytes, as a connection that is one more than needed.
    ///
    /// # Errors
    /// [`Error`]; [`Error::WrongContent`] where the origin does not give exactly this part.
    pub(crate) async fn part(
        upstream: Upstream,
        (target, digest): (&Target, &Digest),
        (part, size): (Range<u64>, u64),
    ) -> Result<Self, Error> {
        let body = upstream.blob_part(&target.repository, digest, part.clone()).await?;
        let size = agree(Some(size), body.size)?;
        let (target, digest, waits) = (target.clone(), *digest, RESUME_AFTER.iter());
        let (part_end, position) = (Some(part.end), part.start);
        Ok(Self { upstream, target, digest, body, size, part_end, position, waits, taken_up_at: position })
    }

    /// Where the bytes come from.
    pub(crate) fn source(&self) -> (Upstream, Target, Digest) {
        (self.upstream.clone(), self.target.clone(), self.digest)
    }

    /// Where the next byte belongs.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The blob's whole length in bytes, where anybody told it.
    pub(crate) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks and cannot be taken up, [`Error::WrongContent`] for a body
    /// that is too long.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.next().await {
                Err(error @ Error::Unavailable { .. }) => self.take_up(error).await?,
                answered => return answered,
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let end = self.part_end.or(self.size);
        // All that is wanted is here; what a connection does after that is its own affair.
        while end.is_none_or(|end| self.position < end) {
            let Some(mut chunk) = self.body.chunk().await? else {
                return match end {
                    Some(end) => Err(Error::Unavailable {
                        why: format!("the body ended at byte {} of {end}", self.position),
                    }),
                    None => Ok(None),
                };
            };
            // An origin that ignores ranges starts again at zero: what is here already is skipped.
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
            if self.position > MAX_UNTOLD && end.is_none() {
                return Err(Error::WrongContent { why: "it does not end".into() });
            }
            return Ok(Some(chunk));
        }
        Ok(None)
    }

    async fn take_up(&mut self, mut error: Error) -> Result<(), Error> {
        let Self { target, digest, position, .. } = self;
        if *position >= self.taken_up_at + PROGRESS {
            self.waits = RESUME_AFTER.iter();
        }
        for wait in self.waits.by_ref() {
            tokio::time::sleep(*wait).await;
            tracing::debug!(target: "hubcap::fetch", upstream = %target, digest = %digest,
                "taking the fetch up again at byte {position}: {error}");
            let again = match self.part_end {
                Some(end) => self.upstream.blob_part(&target.repository, digest, *position..end).await,
                None => self.upstream.blob(&target.repository, digest, *position).await,
            };
            match again.map_err(Error::from) {
                Ok(body) => {
                    agree(self.size, body.size)?;
                    self.body = body;
                    self.taken_up_at = *position;
                    return Ok(());
                }
                Err(again @ Error::Unavailable { .. }) => error = again,
                Err(error) => return Err(error),
            }
        }
        Err(error)
    }
}

/// Two tellings of one length.
fn agree(known: Option<u64>, told: Option<u64>) -> Result<Option<u64>, Error> {
    match (known, told) {
        (Some(known), Some(told)) if known != told => Err(Error::WrongContent {
            why: format!("it should have {known} bytes, and the upstream says {told}"),
        }),
        (known, told) => Ok(known.or(told)),
    }
}
