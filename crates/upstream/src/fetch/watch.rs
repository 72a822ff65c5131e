//! A connection that is watched while it brings bytes: how fast its origin is, and whether it crawls or stands still.

use std::pin::pin;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::pace::{Pace, STANDSTILL, is_too_little};
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
    /// Windows in a row in which too little has come from the only origin.
    slow: u32,
    /// After so many of them the connection is replaced by another one.
    patience: u32,
    /// Bytes so far.
    brought: u64,
    /// Bytes since a speed was last noted, and when that was.
    bytes: u64,
    since: Instant,
}

impl Watch {
    /// Watches a new connection to an origin. Where there is no other origin, it crawls if it brings less than 64 KiB/s in each
    /// of `patience` windows of 5 s.
    pub(super) fn new(origin: usize, patience: u32) -> Self {
        let pace = Pace::default();
        Self { origin, pace, crawls: false, slow: 0, patience, brought: 0, bytes: 0, since: Instant::now() }
    }

    /// Goes on with the connection, which nothing could replace now.
    pub(super) fn keep(&mut self, patience: u32) {
        (self.crawls, self.slow, self.patience) = (false, 0, patience);
    }

    /// The origin that the connection is to.
    pub(super) const fn origin(&self) -> usize {
        self.origin
    }

    /// The next bytes of the connection's `body`, of a content of which `left` bytes are still to come, where that is known.
    ///
    /// # Errors
    /// As [`BlobBody::chunk`]; [`Error::Unavailable`], too, when it brings less than 1 KiB/s for 30 s; [`Error::Crawls`]
    /// where another origin, or over another connection the only one, should be asked instead.
    pub(super) async fn chunk<S: Source>(
        &mut self,
        source: &S,
        body: &mut BlobBody,
        left: Option<u64>,
    ) -> Result<Option<Bytes>, Error> {
        let has_others = source.has_others();
        if self.crawls || (has_others && source.is_too_slow(self.origin, None, left)) {
            return Err(Error::Crawls);
        }
        // One future for all the waiting, since it also ends a body that is silent for good.
        let mut coming = pin!(body.chunk());
        loop {
            let asked = Instant::now();
            let came = timeout(self.pace.patience(), &mut coming).await;
            let bytes =
                came.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, |some| length(some.as_ref())));
            self.brought += bytes;
            // Several connections to one of several origins are judged together.
            let brought = if has_others { source.count(self.origin, bytes) } else { self.brought };
            if let Some(rate) = self.pace.note(asked.elapsed(), brought) {
                self.crawls = if has_others {
                    source.is_too_slow(self.origin, Some(rate), left)
                } else {
                    self.slow = if is_too_little(rate, left) { self.slow + 1 } else { 0 };
                    self.slow >= self.patience
                };
            }
            match came {
                Err(_) | Ok(Ok(Some(_))) if self.pace.stands_still() => {
                    let seconds = STANDSTILL.as_secs();
                    return Err(Error::unavailable(format!("next to nothing came for {seconds} s")));
                }
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
