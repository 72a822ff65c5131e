//! GitHub's Actions cache, version 2 of its service: entries that are found by key, read by range from signed URLs, and
//! uploaded in blocks.
//!
//! - [`mode`], [`token`]: what the job may do.
//! - [`key`]: what names an entry.
//! - [`service`], [`answer`], [`limiter`]: the three calls, what they bring, and the limit of each.
//! - [`entry`]: an entry that was found, and the contents in it as sources.
//! - [`content`]: a content that should be there, beside its registry.
//! - [`upload`]: an entry that is made.
//! - [`error`]: why not.
//!
//! The job's token and the signed URLs are in memory only: nothing here shows them.

pub(crate) mod answer;
mod content;
mod entry;
mod error;
mod key;
mod limiter;
mod mode;
mod service;
mod token;
mod upload;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::shortcut::Shortcut;
use crate::speed::Speed;
use crate::upstreams::Upstreams;
use entry::Reading;
use service::{Calls, Found};
use upload::Writing;

pub use content::{CacheContent, Place};
pub use entry::{CacheFile, Entry};
pub use error::{Call, Denial, Error};
pub use key::EntryKey;
pub use mode::Mode;
pub use service::Service;
pub use token::Token;
pub use upload::Uploaded;

impl Upstreams {
    /// The cache of the job's repository. No request is made yet.
    pub fn actions_cache(&self, service: Service) -> ActionsCache {
        let calls = Arc::new(Calls::new(Arc::clone(self.transport()), service));
        let reading = Reading {
            calls: Arc::clone(&calls),
            limit: self.limit(),
            ranges: Shortcut::default(),
            speed: Speed::default(),
        };
        ActionsCache { reading: Arc::new(reading), writing: Arc::new(Writing::new(calls)) }
    }
}

/// The cache of a job's repository; a clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct ActionsCache {
    reading: Arc<Reading>,
    writing: Arc<Writing>,
}

impl ActionsCache {
    /// Whether a look-up would be made. It is not after one was denied, and for a while after the limit was reached or the
    /// service was away.
    pub fn may_read(&self) -> bool {
        self.read_refusal().is_none()
    }

    /// Whether an upload would be begun.
    pub fn may_write(&self) -> bool {
        self.write_refusal().is_none()
    }

    /// Notes that the job ends: from now on the service's limits are waited for some seconds at most.
    pub fn end(&self) {
        self.reading.calls.end();
    }

    /// Why nothing is looked up, for the job's summary.
    pub fn read_refusal(&self) -> Option<Error> {
        self.reading.calls.read_refusal()
    }

    /// Why nothing is uploaded, for the job's summary.
    pub fn write_refusal(&self) -> Option<Error> {
        self.reading.calls.write_refusal()
    }

    /// The entry of exactly this key. A look-up takes some 250 ms, and is one of the repository's 1,500 a minute.
    ///
    /// # Errors
    /// [`Error`]; a look-up is never made twice.
    pub async fn find(&self, key: &EntryKey) -> Result<Option<Entry>, Error> {
        let found = self.reading.calls.look_up(&[key.key()], key.version()).await?;
        // The service finds what only begins so, too.
        Ok(found.filter(|found| found.key == *key).map(|found| self.entry(found)))
    }

    /// The newest entry of a version whose key begins with the first of `prefixes`; where there is none, with the second.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_newest(&self, prefixes: &[&str], version: &str) -> Result<Option<Entry>, Error> {
        Ok(self.reading.calls.look_up(prefixes, version).await?.map(|found| self.entry(found)))
    }

    /// Makes an entry of `size` bytes, which `read` gives by range, in blocks of 8 MiB, over at most eight connections for all
    /// uploads. While `paused` is true no further block is sent.
    ///
    /// # Errors
    /// [`Error`]. After most of them the key stays reserved.
    pub async fn upload<R>(
        &self,
        key: &EntryKey,
        size: u64,
        read: R,
        paused: watch::Receiver<bool>,
    ) -> Result<Uploaded, Error>
    where
        R: Fn(Range<u64>) -> io::Result<Bytes> + Clone + Send + Sync + 'static,
    {
        self.writing.upload(key, size, read, paused).await
    }

    /// How long the uploads that run, and `bytes` more, take at the speed so far; before anything was sent, at one that others
    /// have measured.
    pub fn upload_takes(&self, bytes: u64) -> Duration {
        self.writing.takes(bytes)
    }

    /// How many bytes a second one connection has brought of the entries; `None` while nothing was large enough to tell.
    pub fn rate(&self) -> Option<f64> {
        self.reading.speed.rate()
    }

    fn entry(&self, found: Found) -> Entry {
        Entry::new(Arc::clone(&self.reading), found)
    }
}
