//! An upload: Azure's block blobs (learn.microsoft.com/rest/api/storageservices), by Put Block and Put Block List, or by Put Blob where
//! one block is all: each request takes 250 ms.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use reqwest::Response;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use url::Url;

use super::answer::SignedUrl;
use super::error::{Call, Error};
use super::key::EntryKey;
use super::service::{Calls, Created};
use crate::address::AddressPolicy;
use crate::connection::Connection;
use crate::request::{Redirects, Request};
use crate::speed::Speed;

/// The length of a block, in bytes.
const BLOCK: u64 = 8 << 20;
/// Connections of all uploads together. Each holds a block in memory, so 64 MiB are held. One connection brings some 10 MB/s,
/// and each request costs 250 ms beside: many short blocks are faster than few long ones.
const CONNECTIONS: usize = 8;
/// How long one block may take: 8 MiB at 70 KB/s.
const PATIENCE: Duration = Duration::from_secs(120);
/// Waits before a block is sent again; a block may come twice.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];

/// Bytes a second of all connections together before anything was sent: GitHub's service, as others measured it.
const UNMEASURED: f64 = 50e6;

/// What is shorter, in bytes, tells nothing of the speed: its time is mostly the answer's.
const SAMPLE: u64 = 1 << 20;

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// The entry is there, and others find it.
    Saved,
    /// It was there before, or may be: it cannot be looked up.
    Exists,
    /// The key is taken, and there is no entry. Most likely another job uploads it now: then it is found some minutes later.
    /// Where it is not, a job that ended too early has reserved it, for ever, and the next slot is free.
    Reserved,
}

/// What all uploads share.
#[derive(Debug)]
pub(super) struct Writing {
    calls: Arc<Calls>,
    connections: Arc<Semaphore>,
    /// Of one connection, while all others send as well.
    speed: Speed,
    /// Bytes that the uploads which run have still to send.
    left: AtomicU64,
}

/// What one upload has still to send; dropped, that is nothing.
#[derive(Debug)]
struct Left {
    writing: Arc<Writing>,
    bytes: AtomicU64,
}

/// One upload that runs.
#[derive(Clone)]
struct Upload<R> {
    writing: Arc<Writing>,
    url: SignedUrl,
    size: u64,
    left: Arc<Left>,
    read: R,
    paused: watch::Receiver<bool>,
}

impl Writing {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        Self { calls, connections, speed: Speed::default(), left: AtomicU64::default() }
    }

    /// How long the uploads that run, and `bytes` more, take at the speed so far.
    pub(super) fn takes(&self, bytes: u64) -> Duration {
        let bytes = self.left.load(Ordering::Relaxed) + bytes;
        let connections = bytes.div_ceil(BLOCK).min(CONNECTIONS as u64);
        // Bytes of a content are far from f64's limits.
        let rate = self.speed.rate().map_or(UNMEASURED, |rate| rate * connections.max(1) as f64);
        Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::MAX)
    }

    /// Uploads `size` bytes. Nothing new is begun while `paused` says so.
    pub(super) async fn upload<R>(
        self: &Arc<Self>,
        key: &EntryKey,
        size: u64,
        read: R,
        mut paused: watch::Receiver<bool>,
    ) -> Result<Uploaded, Error>
    where
        R: Fn(Range<u64>) -> io::Result<Bytes> + Clone + Send + Sync + 'static,
    {
        if size == 0 {
            return Err(Error::Empty);
        }
        let calls = &self.calls;
        if let Some(refusal) = calls.write_refusal() {
            return Err(refusal);
        }
        // The hour for which the URL is good begins with it.
        until_resumed(&mut paused).await;
        let url = match calls.create(key).await? {
            Created::At(url) => url,
            Created::Taken => {
                return Ok(match self.is_saved(key).await {
                    Ok(false) => Uploaded::Reserved,
                    _ => Uploaded::Exists,
                });
            }
        };
        let left = Arc::new(Left::new(Arc::clone(self), size));
        let upload = Upload { writing: Arc::clone(self), url, size, left, read, paused };
        if size <= BLOCK {
            upload.put_whole().await?;
        } else {
            upload.put_blocks().await?;
            upload.put_list().await?;
        }
        self.finalize(key, size).await
    }

    /// Ends an upload, and again where the service fails: all bytes are there, and nobody else can end it.
    async fn finalize(&self, key: &EntryKey, size: u64) -> Result<Uploaded, Error> {
        let mut waits = AGAIN_AFTER.iter();
        let mut has_failed = false;
        loop {
            let Err(error) = self.calls.finalize(key, size).await else { return Ok(Uploaded::Saved) };
            let is_failure = matches!(error, Error::Away(_));
            has_failed |= is_failure;
            // A call that failed may have done it all the same, and then the next one is refused.
            if has_failed && self.is_saved(key).await == Ok(true) {
                return Ok(Uploaded::Saved);
            }
            let wait = waits.next().filter(|wait| is_failure && **wait <= self.calls.patience());
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(target: "hubcap::upstream", "ending an upload again: {error}");
            tokio::time::sleep(*wait).await;
        }
    }

    /// Whether there is an entry of this key.
    async fn is_saved(&self, key: &EntryKey) -> Result<bool, Error> {
        let found = self.calls.look_up(&[key.key()], key.version()).await?;
        Ok(found.is_some_and(|found| found.key == *key))
    }
}

impl Left {
    fn new(writing: Arc<Writing>, bytes: u64) -> Self {
        writing.left.fetch_add(bytes, Ordering::Relaxed);
        Self { writing, bytes: AtomicU64::new(bytes) }
    }

    fn sent(&self, bytes: u64, took: Duration) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.writing.left.fetch_sub(bytes, Ordering::Relaxed);
        if bytes >= SAMPLE {
            self.writing.speed.note(bytes, took);
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.writing.left.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

impl<R> Upload<R>
where
    R: Fn(Range<u64>) -> io::Result<Bytes> + Clone + Send + Sync + 'static,
{
    async fn put_blocks(&self) -> Result<(), Error> {
        let mut running = JoinSet::new();
        for number in 0..self.blocks() {
            let upload = self.clone();
            running.spawn(async move { upload.put_block(number).await });
        }
        // The first that fails ends the others: they are dropped.
        while let Some(ended) = running.join_next().await {
            ended.unwrap_or_else(|error| Err(Error::Unreadable { why: error.to_string() }))?;
        }
        Ok(())
    }

    async fn put_whole(&self) -> Result<(), Error> {
        let url = self.url.expose().clone();
        let kind = (HeaderName::from_static("x-ms-blob-type"), HeaderValue::from_static("BlockBlob"));
        self.clone().put_range(0..self.size, &url, HeaderMap::from_iter([kind])).await
    }

    async fn put_block(self, number: u64) -> Result<(), Error> {
        let range = number * BLOCK..self.size.min((number + 1) * BLOCK);
        let mut url = self.url.expose().clone();
        url.query_pairs_mut().append_pair("comp", "block").append_pair("blockid", &name(number));
        self.put_range(range, &url, HeaderMap::new()).await
    }

    async fn put_range(mut self, range: Range<u64>, url: &Url, headers: HeaderMap) -> Result<(), Error> {
        let connections = Arc::clone(&self.writing.connections);
        let _connection = connections.acquire_owned().await;
        until_resumed(&mut self.paused).await;
        let length = range.end - range.start;
        let read = self.read.clone();
        let unreadable = |why: String| Error::Unreadable { why };
        let bytes = tokio::task::spawn_blocking(move || read(range)).await;
        let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
        let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 != length {
            return Err(unreadable(format!("{} bytes came instead of {length}", bytes.len())));
        }
        let began = Instant::now();
        self.put(url, headers, bytes).await?;
        self.left.sent(length, began.elapsed());
        Ok(())
    }

    /// Puts the blocks together.
    async fn put_list(&self) -> Result<(), Error> {
        let mut list = String::from(r#"<?xml version="1.0" encoding="utf-8"?><BlockList>"#);
        for number in 0..self.blocks() {
            let _ = write!(list, "<Latest>{}</Latest>", name(number));
        }
        list.push_str("</BlockList>");
        let mut url = self.url.expose().clone();
        url.query_pairs_mut().append_pair("comp", "blocklist");
        self.put(&url, HeaderMap::new(), list.into()).await
    }

    /// Sends it, and again where that may help.
    async fn put(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Result<(), Error> {
        let request = Request::new(Method::PUT, url.clone(), headers, AddressPolicy::Any);
        let request = Request { body, redirects: Redirects::Return, ..request };
        let mut connection = Connection::Pooled;
        let mut waits = AGAIN_AFTER.iter();
        loop {
            let transport = self.writing.calls.transport();
            let sent = transport.send_only_once(&request, connection, PATIENCE).await;
            let error = match sent.map_err(Error::from).and_then(|response| judge(&response)) {
                Err(error @ Error::Away(_)) => error,
                ended => return ended,
            };
            let Some(wait) = waits.next() else { return Err(error) };
            tracing::debug!(target: "hubcap::upstream", "sending to the Actions cache again: {error}");
            tokio::time::sleep(*wait).await;
            // An old connection may have been the reason.
            connection = Connection::Fresh;
        }
    }

    const fn blocks(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }
}

/// Waits while the caller wants no uploads. Nobody who could resume them is no reason to wait.
async fn until_resumed(paused: &mut watch::Receiver<bool>) {
    let _ = paused.wait_for(|paused| !paused).await;
}

/// The name of a block, all of one length, as Azure wants it.
fn name(number: u64) -> String {
    STANDARD.encode(format!("{number:08}"))
}

/// What the blob store says to a Put.
fn judge(response: &Response) -> Result<(), Error> {
    match response.status().as_u16() {
        200..300 => Ok(()),
        403 => Err(Error::UploadExpired),
        status @ (408 | 429 | 500..) => Err(Error::Away(crate::Error::Failed { status })),
        status => Err(Error::Refused { call: Call::Finalize, status }),
    }
}
