//! The leader's task: fetches a blob once and writes it. Clients only read what it has written, so none of them
//! can slow or cancel it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::{Digest, Target};
use hubcap_store::{Content, Ingest};
use hubcap_upstream::{BlobBody, Upstream};
use tokio::sync::mpsc;

use crate::flight::Publisher;
use crate::{Cache, Error, on_disk};

/// Chunks between the network and the disk. Few: each can be some hundred KiB, and memory stays flat.
const CHUNKS_IN_HAND: usize = 4;

/// Waits before a broken connection is taken up again; when all are used up the fill has failed.
const RESUME_AFTER: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];

/// A blob that is being fetched, or was in the store after all.
#[derive(Clone)]
pub(crate) struct Filling {
    pub(crate) content: Content,
    /// The repository that the upstream gave it to.
    pub(crate) target: Target,
    /// Why the fill failed, once it has.
    pub(crate) failure: Arc<OnceLock<Error>>,
}

/// What the network hands to the disk. A channel that closes without `End` is a broken fetch.
enum Piece {
    Chunk(Bytes),
    End,
}

/// Fetches `digest` and stores it.
pub(crate) async fn fill(
    cache: Cache,
    upstream: Upstream,
    wanted: (Target, Digest),
    publisher: Publisher<Result<Filling, Error>>,
) {
    let (target, digest) = wanted;
    let failure = Arc::new(OnceLock::new());
    // Between a request's look into the store and its join another flight may have landed.
    if let (Ok(Some(content)), true) =
        (cache.store().blob(&digest), cache.store().is_linked(&target, &digest))
    {
        return publisher.publish(Ok(Filling { content, target, failure }));
    }
    let begun = async {
        let body = upstream.blob(&target.repository, &digest, 0).await?;
        let store = cache.store().clone();
        let size = body.size;
        let ingest = on_disk(move || store.ingest(digest, size)).await;
        let ingest = ingest.map_err(|error| Error::NoRoom { why: error.to_string() })?;
        Ok::<_, Error>((body, ingest))
    };
    let (body, ingest) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return publisher.publish(Err(error)),
    };
    let content = ingest.content(body.size);
    publisher.publish(Ok(Filling { content, target: target.clone(), failure: Arc::clone(&failure) }));

    let (pieces, writer) = mpsc::channel(CHUNKS_IN_HAND);
    // The reason is set before the ingest is dropped or committed, so a reader that sees the end finds it.
    let set_reason = Arc::clone(&failure);
    let store = cache.store().clone();
    let linked = target.clone();
    let disk = on_disk(move || write(ingest, writer, &set_reason, || store.link(&linked, &digest)));
    let network = async {
        if let Err(error) = fetch(&upstream, (&target, &digest), body, &pieces).await {
            let _ = failure.set(error);
        }
        drop(pieces);
    };
    let (written, ()) = tokio::join!(disk, network);
    match (failure.get(), &written) {
        (Some(error), _) | (None, Err(error)) => {
            tracing::warn!(target: "hubcap::fill", upstream = %target, digest = %digest, "fill failed: {error}");
        }
        (None, Ok(())) => {
            tracing::debug!(target: "hubcap::fill", upstream = %target, digest = %digest, "stored");
        }
    }
}

/// The disk's side. The link comes first: who sees the end of the content finds everything done.
fn write(
    mut ingest: Ingest,
    mut pieces: mpsc::Receiver<Piece>,
    failure: &OnceLock<Error>,
    link: impl FnOnce() -> Result<(), hubcap_store::Error>,
) -> Result<(), hubcap_store::Error> {
    let told = |error: hubcap_store::Error| {
        let _ = failure.set(Error::Internal { why: error.to_string() });
        error
    };
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Chunk(bytes) => ingest.write(&bytes).map_err(told)?,
            Piece::End => {
                link()?;
                return ingest.commit().map(drop).inspect_err(|error| {
                    let _ = failure.set(Error::WrongContent { why: error.to_string() });
                });
            }
        }
    }
    Ok(())
}

/// The network's side: hands over all bytes in order. A connection that breaks is taken up again where it was,
/// with the hash's state kept, so no client notices.
async fn fetch(
    upstream: &Upstream,
    (target, digest): (&Target, &Digest),
    mut body: BlobBody,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), Error> {
    let size = body.size;
    let mut received = 0;
    let mut waits = RESUME_AFTER.iter();
    loop {
        let error = match drain(body, &mut received, size, pieces).await {
            Ok(()) => {
                let _ = pieces.send(Piece::End).await;
                return Ok(());
            }
            Err(error @ Error::Unavailable { .. }) => error,
            Err(error) => return Err(error),
        };
        body = loop {
            let Some(wait) = waits.next() else { return Err(error) };
            tokio::time::sleep(*wait).await;
            tracing::debug!(target: "hubcap::fill", upstream = %target, digest = %digest,
                "taking the fetch up again at byte {received}: {error}");
            match upstream.blob(&target.repository, digest, received).await.map_err(Error::from) {
                Ok(body) => break body,
                Err(Error::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
        };
    }
}

/// Hands over one connection's bytes, from `received` on.
async fn drain(
    mut body: BlobBody,
    received: &mut u64,
    size: Option<u64>,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), Error> {
    if size.is_some() && body.size.is_some() && size != body.size {
        return Err(Error::WrongContent { why: "its length changed between two requests".into() });
    }
    // An origin that ignores ranges starts again at zero: what we have is skipped.
    let mut skip = received.saturating_sub(body.offset);
    while let Some(mut chunk) = body.chunk().await? {
        let skipped = skip.min(chunk.len() as u64);
        skip -= skipped;
        let chunk = chunk.split_off(usize::try_from(skipped).unwrap_or(chunk.len()));
        if chunk.is_empty() {
            continue;
        }
        *received += chunk.len() as u64;
        if size.is_some_and(|size| *received > size) {
            return Err(Error::WrongContent { why: "it is longer than its Content-Length".into() });
        }
        if pieces.send(Piece::Chunk(chunk)).await.is_err() {
            return Err(Error::Internal { why: "the store stopped taking it".into() });
        }
    }
    Ok(())
}
