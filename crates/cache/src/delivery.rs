//! A blob on its way to a client. Where the store fails in mid-blob (a full disk, a damaged file, a fill that broke
//! off) the rest comes from the upstream, in the same answer, and what the client has already is verified with it.

use std::ops::Range;

use bytes::Bytes;
use hubcap_oci::Digest;
use hubcap_store::{Content, Reader};
use hubcap_upstream::Fetch;

use crate::authorization::Access;
use crate::blob::StoredBlob;
use crate::bypass::Through;
use crate::cache::Cache;
use crate::error::{Error, fill_error};

/// The bytes of one answer.
pub struct Delivery {
    cache: Cache,
    access: Access,
    digest: Digest,
    content: Content,
    source: Source,
    position: u64,
    /// A part of a blob cannot be verified by itself, so only a whole one can be taken up elsewhere.
    whole: bool,
}

enum Source {
    Store(Reader),
    Upstream(Box<Through>),
}

impl Cache {
    /// The bytes of `range` of a blob that [`blob`](Self::blob) gave for this access and digest.
    pub fn deliver(
        &self,
        access: &Access,
        digest: &Digest,
        (blob, range): (StoredBlob, Range<u64>),
    ) -> Delivery {
        let StoredBlob { content } = blob;
        let whole = range.start == 0 && content.size() == Some(range.end);
        Delivery {
            cache: self.clone(),
            access: access.clone(),
            digest: *digest,
            position: range.start,
            source: Source::Store(content.reader(range)),
            content,
            whole,
        }
    }
}

impl Delivery {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error`], after which the client's connection must be cut: it must never look like the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = match &mut self.source {
            Source::Upstream(through) => return through.chunk().await,
            Source::Store(reader) => reader.chunk().await,
        };
        match chunk {
            Ok(chunk) => {
                self.position += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                Ok(chunk)
            }
            Err(error) => {
                let why = || Error::Internal { why: error.to_string() };
                match fill_error(&error) {
                    // The upstream has failed, several times; only the store's own failures are made good here.
                    Some(failed) if !matches!(failed, Error::NoRoom { .. }) => return Err(failed.clone()),
                    _ if !self.whole => return Err(why()),
                    _ => {}
                }
                let mut through = self.take_up().await.map_err(|better| {
                    tracing::debug!(target: "hubcap::cache", digest = %self.digest, "not taken up: {better}");
                    why()
                })?;
                tracing::debug!(target: "hubcap::cache", digest = %self.digest, position = self.position,
                    "{error}: the rest comes from the upstream");
                let chunk = through.chunk().await;
                self.source = Source::Upstream(Box::new(through));
                chunk
            }
        }
    }

    /// The rest from the upstream, with a verifier that has seen what the client has.
    async fn take_up(&self) -> Result<Through, Error> {
        let Access { target, .. } = &self.access;
        let upstream = self.cache.upstream(&self.access).map_err(|failure| failure.error)?;
        let verifier = self.content.hashed(&self.digest, self.position).await.map_err(|error| {
            Error::Internal { why: format!("what was sent cannot be read again: {error}") }
        })?;
        let blob = upstream.blob(&target.repository, &self.digest, self.content.size());
        let fetch = Fetch::begin(blob, self.position).await?;
        Ok(Through::new(fetch, self.digest, verifier))
    }
}
