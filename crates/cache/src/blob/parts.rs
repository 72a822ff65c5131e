//! Parts of a blob, for a request with ranges: one after the other, from the one open file. What a growing file does not have
//! yet may come from the registry, where that is worth it.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use hubcap_oci::ByteRange;
use hubcap_store::{Content, ReadError, Reader};

use super::beside::{Beside, Fetched};

/// The bytes of some ranges of a blob.
pub(crate) struct Parts {
    content: Content,
    /// What is still to be given out.
    left: VecDeque<Range<u64>>,
    /// Where the first of `left` comes from, once it has begun.
    source: Option<Source>,
    /// Gone where the registry did not help.
    beside: Option<Beside>,
}

enum Source {
    Store(Reader),
    Registry(Box<Fetched>),
}

impl Parts {
    /// The bytes of `ranges`, in this order.
    pub(crate) fn new(content: Content, beside: Option<Beside>, ranges: &[ByteRange]) -> Self {
        let left = ranges.iter().map(|range| range.start..range.end).collect();
        Self { content, left, source: None, beside }
    }

    /// The next bytes, all of one part; `None` at the end.
    ///
    /// # Errors
    /// A [`ReadError`], after which no more can be had.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let Some(part) = self.left.front_mut() else { return Ok(None) };
            match (&mut self.source, &self.beside) {
                (_, _) if part.is_empty() => {
                    self.left.pop_front();
                    self.source.take_if(|source| matches!(source, Source::Store(_)));
                }
                (Some(Source::Store(reader)), _) => {
                    let Some(chunk) = reader.chunk().await? else {
                        // A file that ends early is an error of the reader's.
                        part.start = part.end;
                        continue;
                    };
                    part.start += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                (Some(Source::Registry(fetched)), _) => match fetched.chunk().await {
                    Ok(Some(chunk)) => {
                        part.start += chunk.len() as u64;
                        return Ok(Some(chunk));
                    }
                    Ok(None) => self.source = None,
                    Err(error) => self.do_without_registry(&error),
                },
                (None, Some(beside)) => match beside.fetch(&self.left, self.content.available()).await {
                    Ok(Some(fetched)) => self.source = Some(Source::Registry(Box::new(fetched))),
                    Ok(None) => self.read(),
                    Err(error) => self.do_without_registry(&error),
                },
                (None, None) => self.read(),
            }
        }
    }

    /// Reads the first part from the file.
    fn read(&mut self) {
        let part = self.left.front().cloned();
        self.source = part.map(|part| Source::Store(self.content.reader(part)));
    }

    fn do_without_registry(&mut self, error: &hubcap_upstream::Error) {
        tracing::debug!(target: "hubcap::cache", "the ranges come from the fill: {error}");
        (self.source, self.beside) = (None, None);
    }
}
