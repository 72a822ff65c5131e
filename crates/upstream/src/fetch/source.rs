//! Where a content's bytes come from, and how they are given out.

use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::Digest;

use super::limit::ConnectionLimit;
use crate::body::BlobBody;
use crate::error::Error;
use crate::shortcut::Shortcut;

/// Where a fetch goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At an origin that was not asked yet, so at once.
    Fresh,
    /// At one that was left before: nothing better is left.
    Again,
    /// Where it is.
    Same,
}

/// One content, at one origin or at several that have the same bytes: then one after the other is asked, and which is next
/// is the source's decision. It is displayed in logs, so its name must not have a secret.
pub trait Source: Clone + Display + Send + Sync + 'static {
    /// The content's digest, where it has one: it tells the end of a body of unknown length.
    fn digest(&self) -> Option<Digest> {
        None
    }

    /// The number of the origin that is asked now.
    fn origin(&self) -> usize {
        0
    }

    /// Leaves an origin because of this error, unless that was done already.
    fn leave(&self, _origin: usize, _why: &Error) -> Next {
        Next::Same
    }

    /// Whether there are several origins: then each is watched, and none may crawl.
    fn has_others(&self) -> bool {
        false
    }

    /// Whether a connection to this origin should be given up. `rate` is what the origin was found to bring, in bytes a
    /// second, and `left` how many bytes are still to come.
    fn is_too_slow(&self, _origin: usize, _rate: Option<f64>, _left: Option<u64>) -> bool {
        false
    }

    /// Counts bytes that an origin has brought over any connection; returns all of this content so far.
    fn count(&self, _origin: usize, _bytes: u64) -> u64 {
        0
    }

    /// Notes what one connection to an origin brought, and how long that took.
    fn measured(&self, _origin: usize, _bytes: u64, _took: Duration) {}

    /// The same content at a place that can be asked at the same time: connections to it fetch parts beside those to this one.
    fn beside(&self) -> Option<Self> {
        None
    }

    /// The limit that connections beyond the content's first count against.
    fn limit(&self) -> &ConnectionLimit;

    /// Whether the origin gives ranges.
    fn ranges(&self) -> &Shortcut;

    /// Opens the content from byte `offset` on: plainly at 0, else by a range. An origin that ignores ranges begins at 0;
    /// the body says so.
    ///
    /// # Errors
    /// [`Error::NoRange`] for an answer that is not the range that was asked for.
    fn open(&self, offset: u64) -> impl Future<Output = Result<BlobBody, Error>> + Send;

    /// Opens a part, over a connection that is one more than needed.
    ///
    /// # Errors
    /// [`Error::NoRange`] for an answer that does not begin with the part.
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
