//! A content in order, fetched in parts from its start on, because one connection is slower than the origin.
//!
//! Parts have a fixed length, and none is fetched further than [`WINDOW`] ahead of the oldest that is not complete: pieces
//! that come before their turn wait in memory, so this is what a fetch holds at most, however large the content is and
//! however slow its reader. A window in bytes bounds that for any number of connections; parts of fixed length keep the
//! connections equally far ahead.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::parallel::WIDTH;
use super::resume::Fetch;
use super::source::{Piece, Source};
use crate::error::Error;

/// The length of a part in bytes: an archive's server counts no requests, and pieces that come early wait in memory.
const PART: u64 = 4 << 20;
/// How far ahead of the oldest part others may begin, in bytes.
const WINDOW: u64 = WIDTH as u64 * PART;
/// Pieces between the connections and the reader.
const PIECES: usize = 16;

/// A content's bytes in order, as they arrive.
#[derive(Debug)]
pub struct InOrder {
    pieces: mpsc::Receiver<Piece>,
    /// Pieces whose turn has not come, by where they belong.
    ahead: BTreeMap<u64, Bytes>,
    position: u64,
    /// Ends when this is dropped.
    fetching: JoinSet<Result<(), Error>>,
}

impl InOrder {
    /// Begins at the content's start. An origin that gives no ranges gives the whole over one connection.
    ///
    /// # Errors
    /// [`Error`], as the origin's answer means.
    pub(crate) async fn begin<S: Source>(source: S) -> Result<Self, Error> {
        let fetch = match Fetch::begin_part(source.clone(), 0..PART, None).await {
            Err(error) if error.is_of_range() => {
                let fetch = Fetch::begin(source.clone(), 0).await?;
                source.ranges().did_not_help(Instant::now());
                fetch
            }
            begun => begun?,
        };
        let (sender, pieces) = mpsc::channel(PIECES);
        let mut fetching = JoinSet::new();
        fetching.spawn(async move { fetch.stream_in_parts((PART, WINDOW), &sender).await });
        Ok(Self { pieces, ahead: BTreeMap::new(), position: 0, fetching })
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error`], when the content cannot be fetched to its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(bytes) = self.ahead.remove(&self.position) {
                self.position += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            match self.pieces.recv().await {
                Some(Piece::Chunk { offset, bytes }) => {
                    self.ahead.insert(offset, bytes);
                }
                Some(Piece::End) => return Ok(None),
                None => {
                    let ended = self.fetching.join_next().await;
                    let broken = || Err(Error::unavailable("the fetch broke off"));
                    return ended.and_then(Result::ok).unwrap_or_else(broken).map(|()| None);
                }
            }
        }
    }

    /// Bytes that wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u64 {
        self.ahead.values().map(|bytes| bytes.len() as u64).sum()
    }
}
