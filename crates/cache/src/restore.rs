//! Restoring the store from an archive while serving. What is not here yet may be about to arrive, so who asks
//! for it waits a little before the upstream is asked.

use std::io::Read;

use bytes::{Buf as _, Bytes};
use hubcap_oci::Digest;
use hubcap_store::Restored;
use tokio::sync::mpsc;
use url::Url;

use crate::cache::Cache;
use crate::error::Error;
use crate::on_disk::on_disk;

/// Every so many bytes of an archive are news.
const NEWS: usize = 1 << 20;
/// Pieces of the archive between the network and the disk.
const PIECES: usize = 16;

impl Cache {
    /// Restores the archive of a store at `url`, and the files of these names beside it. From the call on, before the future
    /// is polled, requests wait for what it may bring.
    ///
    /// # Errors
    /// [`Error`] when it is not given, breaks off, or is none; what has come until then stays.
    pub fn restore(
        &self,
        url: Url,
        beside: &'static [&'static str],
    ) -> impl Future<Output = Result<Restored, Error>> + Send + use<> {
        let (cache, running) = (self.clone(), self.0.restoring.begin());
        async move {
            let _running = running;
            let mut archive = cache.0.upstreams.archive(url).await?;
            let (pieces, incoming) = mpsc::channel(PIECES);
            let (store, restoring) = (cache.store().clone(), cache.0.restoring.clone());
            let added = move || restoring.announce();
            let unpacking = on_disk(move || store.restore(Incoming::new(incoming), beside, &added));
            let fetching = async {
                let mut received = 0;
                while let Some(piece) = archive.chunk().await.transpose() {
                    let before = received;
                    received += piece.as_ref().map_or(0, Bytes::len);
                    // Who waits looks into the store at each news.
                    if received / NEWS > before / NEWS {
                        cache.0.restoring.announce();
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
        self.0.restoring.is_running()
    }

    /// Waits for a content that an archive may bring: until it is here, nothing more comes, or that takes too long.
    pub(crate) async fn await_content(&self, digest: &Digest) {
        self.0.restoring.wait(|| self.store().has(digest)).await;
    }

    /// Waits until an archive that is coming in has ended, or takes too long.
    pub(crate) async fn await_names(&self) {
        self.0.restoring.wait(|| false).await;
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
