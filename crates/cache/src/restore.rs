//! A store that comes in from an archive while it serves already. What is not here yet may be about to come, so who asks
//! for it waits a little before the upstream is asked.

use std::io::Read;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hubcap_oci::Digest;
use hubcap_store::Restored;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::cache::Cache;
use crate::error::Error;
use crate::on_disk::on_disk;

/// How long a request waits for what may come; after that the upstream is as good. Clients wait for 30 s and more.
const PATIENCE: Duration = Duration::from_secs(20);
/// An archive from which nothing comes for so long is not waited for.
const STALLED: Duration = Duration::from_secs(3);
/// Every so many bytes of an archive are news.
const NEWS: usize = 1 << 20;
/// Pieces of the archive between the network and the disk.
const PIECES: usize = 16;

/// How an archive comes in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    running: bool,
    /// Grows with everything that comes.
    news: u64,
}

/// Its end is the archive's, whatever it came to.
struct Running(Cache);

impl Running {
    fn begin(cache: Cache) -> Self {
        cache.0.restoring.send_modify(|progress| progress.running = true);
        Self(cache)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.restoring.send_modify(|progress| progress.running = false);
    }
}

impl Cache {
    /// Takes in the archive of a store at `url`, and the files of these names beside it. From the call on, before the future is polled, requests wait for what it
    /// may bring.
    ///
    /// # Errors
    /// [`Error`] when it is not given, breaks off, or is none; what has come until then stays.
    pub fn restore(
        &self,
        url: Url,
        beside: &'static [&'static str],
    ) -> impl Future<Output = Result<Restored, Error>> + Send + use<> {
        let running = Running::begin(self.clone());
        async move {
            let cache = &running.0;
            let mut archive = cache.0.upstreams.archive(url).await?;
            let (pieces, incoming) = mpsc::channel(PIECES);
            let (store, news) = (cache.store().clone(), cache.0.restoring.clone());
            let added = move || news.send_modify(|progress| progress.news += 1);
            let unpacking = on_disk(move || store.restore(Incoming::new(incoming), beside, &added));
            let fetching = async {
                let mut received = 0;
                while let Some(piece) = archive.chunk().await.transpose() {
                    let before = received;
                    received += piece.as_ref().map_or(0, Bytes::len);
                    // Who waits looks into the store at each news.
                    if received / NEWS > before / NEWS {
                        cache.0.restoring.send_modify(|progress| progress.news += 1);
                    }
                    let is_broken = piece.is_err();
                    // A store that takes no more says why itself.
                    if pieces.send(piece.map_err(|error| error.to_string())).await.is_err() || is_broken {
                        break;
                    }
                }
                drop(pieces);
            };
            tokio::join!(unpacking, fetching).0
        }
    }

    /// Whether an archive is coming in.
    pub fn is_restoring(&self) -> bool {
        self.0.restoring.borrow().running
    }

    /// Waits for a content that an archive may bring: until it is here, nothing more comes, or that takes too long.
    pub(crate) async fn await_content(&self, digest: &Digest) {
        self.await_archive(|| self.store().has(digest)).await;
    }

    /// Waits until an archive that is coming in has ended, or takes too long.
    pub(crate) async fn await_names(&self) {
        self.await_archive(|| false).await;
    }

    async fn await_archive(&self, here: impl Fn() -> bool) {
        if !self.is_restoring() {
            return;
        }
        let mut progress = self.0.restoring.subscribe();
        let end = Instant::now() + PATIENCE;
        while progress.borrow_and_update().running && !here() {
            let stalled = Instant::now() + STALLED;
            if !matches!(timeout_at(end.min(stalled), progress.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// The archive's pieces, one after the other, for a thread that may block.
struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes, String>>,
    piece: Bytes,
}

impl Incoming {
    const fn new(pieces: mpsc::Receiver<Result<Bytes, String>>) -> Self {
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(why)) => return Err(std::io::Error::other(why)),
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
