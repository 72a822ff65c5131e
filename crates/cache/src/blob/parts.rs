//! Parts of a blob, for a request with ranges: one after the other, from the one open file.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use hubcap_oci::ByteRange;
use hubcap_store::{Content, ReadError, Reader};

/// The bytes of some ranges of a blob.
pub(crate) struct Parts {
    content: Content,
    /// What is still to be given out.
    left: VecDeque<Range<u64>>,
    /// Reads the first of `left`, once it has begun.
    reader: Option<Reader>,
}

impl Parts {
    /// The bytes of `ranges`, in this order.
    pub(crate) fn new(content: Content, ranges: &[ByteRange]) -> Self {
        let left = ranges.iter().map(|range| range.start..range.end).collect();
        Self { content, left, reader: None }
    }

    /// The next bytes, all of one part; `None` at the end.
    ///
    /// # Errors
    /// A [`ReadError`], after which no more can be had.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        while let Some(part) = self.left.front() {
            let reader = self.reader.get_or_insert_with(|| self.content.reader(part.clone()));
            if let Some(chunk) = reader.chunk().await? {
                return Ok(Some(chunk));
            }
            self.left.pop_front();
            self.reader = None;
        }
        Ok(None)
    }
}
