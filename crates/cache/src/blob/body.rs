//! A blob on its way to a client. Where the store fails in mid-blob (a full disk, a damaged file, a fill that broke off)
//! the rest comes from the upstream, in the same answer, and what the client has already is verified with it. Where the fill
//! has stalled, the rest comes from another fill that has the same bytes so far.

use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::Digest;
use hubcap_store::{Content, Reader};
use hubcap_upstream::{Fetch, Permission};
use tokio::time::{Instant, sleep_until, timeout};

use super::bypass::Bypass;
use super::parts::Parts;
use crate::access::Access;
use crate::cache::Cache;
use crate::error::{Error, fill_error};
use crate::fill::FillHandle;
use crate::fill::stall::Stall;
use crate::others::permitted;

/// How long another fill has to get as far as the one that has stalled, and when the next one is tried after that.
const AGAIN: Duration = Duration::from_secs(15);

/// The bytes of one answer.
pub struct BlobBody {
    source: Source,
    /// The next byte to give out.
    position: u64,
    /// How the upstream takes over from a store that fails. A part of a blob cannot be verified by itself, so only a whole
    /// one has this.
    takeover: Option<Takeover>,
}

enum Source {
    /// A HEAD's answer has no bytes.
    Empty,
    Store(Reader),
    Parts(Box<Parts>),
    Upstream(Box<Bypass>),
}

pub(crate) struct Takeover {
    pub(crate) cache: Cache,
    pub(crate) access: Access,
    pub(crate) digest: Digest,
    pub(crate) content: Content,
    /// Of the fill that the content comes from.
    pub(crate) stall: Stall,
    /// When another fill may be tried, after one that was no better.
    pub(crate) not_before: Option<Instant>,
}

impl BlobBody {
    pub(crate) const fn empty() -> Self {
        Self { source: Source::Empty, position: 0, takeover: None }
    }

    /// A stored content, which nothing takes over.
    pub(crate) fn stored(content: &Content) -> Self {
        Self { source: Source::Store(content.reader(0..u64::MAX)), position: 0, takeover: None }
    }

    /// Parts of a stored blob.
    pub(crate) fn parts(parts: Parts) -> Self {
        Self { position: 0, source: Source::Parts(Box::new(parts)), takeover: None }
    }

    /// A whole stored blob.
    pub(crate) fn whole(takeover: Takeover) -> Self {
        let stored = Self::stored(&takeover.content);
        Self { takeover: Some(takeover), ..stored }
    }

    pub(crate) fn bypass(bypass: Box<Bypass>) -> Self {
        Self { source: Source::Upstream(bypass), position: 0, takeover: None }
    }

    /// The store's content of a whole blob; `None` for what does not come from the store.
    pub(crate) fn into_content(self) -> Option<Content> {
        self.takeover.map(|takeover| takeover.content)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error`], after which the client's connection must be cut: it must never look like the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = match &mut self.source {
            Source::Empty => return Ok(None),
            Source::Upstream(bypass) => return bypass.chunk().await,
            Source::Parts(parts) => parts.chunk().await,
            Source::Store(reader) => match &mut self.takeover {
                None => reader.chunk().await,
                Some(takeover) => loop {
                    tokio::select! {
                        biased;
                        () = takeover.stalls() => {
                            if let Some(another) = takeover.leave(self.position).await {
                                *reader = another;
                            }
                        }
                        chunk = reader.chunk() => break chunk,
                    }
                },
            },
        };
        let error = match chunk {
            Ok(chunk) => {
                self.position += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                return Ok(chunk);
            }
            Err(error) => error,
        };
        match fill_error(&error) {
            // The upstream has failed, several times; only the store's own failures are made good here.
            Some(failed) if !matches!(failed, Error::NoRoom { .. }) => return Err(failed.clone()),
            _ => {}
        }
        let internal = Error::Internal { why: error.to_string() };
        let Some(takeover) = &self.takeover else { return Err(internal) };
        let digest = &takeover.digest;
        match takeover.begin(self.position).await {
            Ok(mut bypass) => {
                tracing::debug!(target: "hubcap::cache", digest = %digest, position = self.position,
                    "{error}: the rest comes from the upstream");
                let chunk = bypass.chunk().await;
                self.source = Source::Upstream(Box::new(bypass));
                chunk
            }
            Err(better) => {
                tracing::debug!(target: "hubcap::cache", digest = %digest, "not resumed: {better}");
                Err(internal)
            }
        }
    }
}

impl Takeover {
    /// Waits until the fill has stalled, for ever where it does not.
    async fn stalls(&mut self) {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
        }
        self.stall.begins().await;
    }

    /// Goes over to another fill, which the upstream is asked for as this client, when that has at least as many bytes, and
    /// the same. The fill that has stalled gives nothing worth having meanwhile.
    async fn leave(&mut self, position: u64) -> Option<Reader> {
        self.not_before = Some(Instant::now() + AGAIN);
        let (content, stall) = timeout(AGAIN, self.another(position)).await.ok()??;
        tracing::debug!(target: "hubcap::cache", digest = %self.digest, position,
            "the fill has stalled: the rest comes from another one");
        (self.content, self.stall) = (content, stall);
        Some(self.content.reader(position..u64::MAX))
    }

    async fn another(&self, position: u64) -> Option<(Content, Stall)> {
        // The client's own registry has said yes, or nothing of it would have come.
        let (mut content, stall) = match self.cache.filled_meanwhile(&self.access, &self.digest) {
            Some(content) => (content, Stall::never()),
            None => {
                let upstream = self.cache.upstream(&self.access).ok()?;
                let mut flight = self.cache.0.filler.join(upstream, &self.access, &self.digest);
                let FillHandle { content, stall, .. } = flight.value().await?.ok()?;
                (content, stall)
            }
        };
        if stall.is_now() {
            return None;
        }
        if let Some(last) = position.checked_sub(1) {
            content.grown(last).await.ok()?;
        }
        let ours = self.content.hashed(&self.digest, position).await.ok()?;
        let its = content.hashed(&self.digest, position).await.ok()?;
        (ours.finish() == its.finish()).then_some((content, stall))
    }

    /// The rest from the upstream, with a verifier that has seen what the client has.
    async fn begin(&self, position: u64) -> Result<Bypass, Error> {
        let upstream = self.cache.upstream(&self.access).map_err(|failure| failure.error)?;
        let verifier = self.content.hashed(&self.digest, position).await.map_err(|error| {
            Error::Internal { why: format!("what was sent cannot be read again: {error}") }
        })?;
        let target = &self.access.target;
        let blob = upstream.blob(&target.repository, &self.digest);
        // The client has a part of it already, so it may have the rest.
        let others = permitted(self.cache.store().is_private(target));
        blob.allow(others, Permission::Given).await;
        Ok(Bypass::new(Fetch::begin(blob, position).await?, self.digest, verifier))
    }
}
