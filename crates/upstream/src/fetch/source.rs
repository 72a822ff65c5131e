//! Where a content's bytes come from, and how they are given out.

use std::fmt::Display;
use std::future::Future;
use std::ops::Range;

use bytes::Bytes;

use super::limit::ConnectionLimit;
use crate::body::BlobBody;
use crate::error::Error;

/// One content at one origin. It is displayed in logs, so its name must not have a secret.
pub trait Source: Clone + Display + Send + Sync + 'static {
    /// The content's length in bytes, where it is known before the origin is asked.
    fn size(&self) -> Option<u64>;

    /// The limit that connections beyond the content's first count against.
    fn limit(&self) -> &ConnectionLimit;

    /// Opens the content from byte `offset` on. An origin that ignores ranges begins at 0; the body says so.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that is not the range that was asked for.
    fn open(&self, offset: u64) -> impl Future<Output = Result<BlobBody, Error>> + Send;

    /// Opens a part, over a connection that is one more than needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an answer that does not begin with the part.
    fn open_part(&self, part: Range<u64>) -> impl Future<Output = Result<BlobBody, Error>> + Send;
}

/// What a fetch gives out. A channel of pieces that closes without [`End`](Self::End) is a broken fetch.
#[derive(Debug)]
pub enum Piece {
    /// Bytes, which follow each other within a part only.
    Chunk {
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Everything was given out.
    End,
}
