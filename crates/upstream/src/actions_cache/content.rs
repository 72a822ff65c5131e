//! A content that the cache should have: its entry is looked up when the first byte is wanted, and not before.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hubcap_oci::Digest;
use tokio::sync::OnceCell;

use super::entry::{CacheFile, Entry, in_a_fetch};
use super::{ActionsCache, EntryKey};
use crate::body::BlobBody;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::source::Source as _;
use crate::shortcut::Shortcut;
use crate::speed::Speed;

/// An entry that should be there, looked up once at most. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: ActionsCache,
    key: EntryKey,
    found: OnceCell<Option<Entry>>,
    /// Whether something else was found in it than should be.
    is_wrong: AtomicBool,
}

impl Place {
    /// The entry of this key, which is not looked up yet.
    pub fn new(cache: ActionsCache, key: EntryKey) -> Self {
        Self::with(cache, key, OnceCell::new())
    }

    /// An entry that was found.
    pub fn found(cache: ActionsCache, entry: Entry) -> Self {
        let key = EntryKey::pack(entry.matched_key());
        Self::with(cache, key, OnceCell::from(Some(entry)))
    }

    fn with(cache: ActionsCache, key: EntryKey, found: OnceCell<Option<Entry>>) -> Self {
        Self(Arc::new(Inner { cache, key, found, is_wrong: AtomicBool::new(false) }))
    }

    /// Whether the service does not have it any more, or has something else.
    pub fn is_lost(&self) -> bool {
        matches!(self.0.found.get(), Some(None)) || self.is_wrong()
    }

    /// Whether the service has something else.
    pub fn is_wrong(&self) -> bool {
        self.0.is_wrong.load(Ordering::Relaxed)
    }

    /// Whether it was looked up.
    pub fn is_found(&self) -> bool {
        self.0.found.initialized()
    }

    /// A content of it: the whole, or a range of it.
    pub fn content(&self, range: Option<Range<u64>>, digest: Digest, size: u64) -> CacheContent {
        CacheContent { place: self.clone(), range, digest, size }
    }

    async fn entry(&self) -> Result<&Entry, Error> {
        let Inner { cache, key, found, .. } = &*self.0;
        let look_up = || async { cache.find(key).await.map_err(in_a_fetch) };
        found.get_or_try_init(look_up).await?.as_ref().ok_or(Error::NotFound)
    }
}

/// A content that the cache should have. Its digest is verified by who stores it.
#[derive(Debug, Clone)]
pub struct CacheContent {
    place: Place,
    range: Option<Range<u64>>,
    digest: Digest,
    size: u64,
}

impl CacheContent {
    /// Its length in bytes, as the directory says it.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether it costs no look-up.
    pub(crate) fn is_found(&self) -> bool {
        self.place.is_found()
    }

    /// Whether other contents are in the same entry.
    pub(crate) const fn is_of_pack(&self) -> bool {
        self.range.is_some()
    }

    /// Where it is cannot be relied on: other bytes came.
    pub(crate) fn note_wrong(&self) {
        self.place.0.is_wrong.store(true, Ordering::Relaxed);
    }

    /// Nothing came in time: for a while nothing else is asked of the cache either, since each content would wait as long.
    pub(crate) fn note_late(&self) {
        self.place.0.cache.reading.calls.rest();
    }

    /// Finds out whether it is there.
    pub(crate) async fn is_there(&self) -> bool {
        self.place.entry().await.is_ok()
    }

    /// Its bytes from `offset` on.
    pub(crate) async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        self.of_its_length(self.file().await?.open(offset).await?)
    }

    /// The bytes of `part`.
    pub(crate) async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        self.of_its_length(self.file().await?.open_part(part).await?)
    }

    async fn file(&self) -> Result<CacheFile, Error> {
        Ok(self.place.entry().await?.file(self.range.clone(), Some(self.digest)))
    }

    /// An entry that is longer or shorter has something else.
    fn of_its_length(&self, body: BlobBody) -> Result<BlobBody, Error> {
        let told = body.size.filter(|told| *told != self.size);
        let Some(told) = told else { return Ok(body) };
        tracing::warn!(target: "hubcap::upstream", digest = %self.digest,
            "the Actions cache has {told} bytes instead of {}; it is not asked for them again", self.size);
        self.note_wrong();
        Err(Error::invalid(format!("it should have {} bytes, and the Actions cache has {told}", self.size)))
    }

    pub(crate) fn limit(&self) -> &ConnectionLimit {
        &self.place.0.cache.reading.limit
    }

    pub(crate) fn ranges(&self) -> &Shortcut {
        &self.place.0.cache.reading.ranges
    }

    pub(crate) fn speed(&self) -> &Speed {
        &self.place.0.cache.reading.speed
    }
}
