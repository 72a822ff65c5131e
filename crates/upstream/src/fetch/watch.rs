//! A connection that is watched while it brings bytes: how fast its origin is, and whether it crawls.

use std::pin::pin;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::pace::Pace;
use super::source::Source;
use crate::body::BlobBody;
use crate::error::Error;

/// A speed is noted for each so many bytes: below, the time is mostly the origin's first answer.
const SAMPLE: u64 = 1 << 20;

/// What was seen of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    origin: usize,
    pace: Pace,
    crawls: bool,
    /// Bytes since a speed was last noted, and when that was.
    bytes: u64,
    since: Instant,
}

impl Watch {
    /// Watches a new connection to an origin.
    pub(super) fn new(origin: usize) -> Self {
        Self { origin, pace: Pace::default(), crawls: false, bytes: 0, since: Instant::now() }
    }

    /// The origin that the connection is to.
    pub(super) const fn origin(&self) -> usize {
        self.origin
    }

    /// The next bytes of the connection's `body`, of a content of which `left` bytes are still to come, where that is known.
    ///
    /// # Errors
    /// As [`BlobBody::chunk`]; [`Error::Crawls`] where another origin should be asked instead.
    pub(super) async fn chunk<S: Source>(
        &mut self,
        source: &S,
        body: &mut BlobBody,
        left: Option<u64>,
    ) -> Result<Option<Bytes>, Error> {
        if !source.has_others() {
            let chunk = body.chunk().await?;
            self.sample(source, length(chunk.as_ref()));
            return Ok(chunk);
        }
        if self.crawls || source.is_too_slow(self.origin, None, left) {
            return Err(Error::Crawls);
        }
        // One future for all the waiting, since it also ends a body that is silent for good.
        let mut coming = pin!(body.chunk());
        loop {
            let asked = Instant::now();
            let came = timeout(self.pace.patience(), &mut coming).await;
            let bytes =
                came.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, |some| length(some.as_ref())));
            let brought = source.count(self.origin, bytes);
            if let Some(rate) = self.pace.note(asked.elapsed(), brought) {
                self.crawls = source.is_too_slow(self.origin, Some(rate), left);
            }
            match came {
                Ok(chunk) => {
                    self.sample(source, bytes);
                    return chunk;
                }
                Err(_) if self.crawls => return Err(Error::Crawls),
                Err(_) => {}
            }
        }
    }

    fn sample<S: Source>(&mut self, source: &S, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= SAMPLE {
            source.measured(self.origin, self.bytes, self.since.elapsed());
            (self.bytes, self.since) = (0, Instant::now());
        }
    }
}

fn length(chunk: Option<&Bytes>) -> u64 {
    chunk.map_or(0, |chunk| chunk.len() as u64)
}
