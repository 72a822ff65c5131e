//! An entry of the cache, and the contents in it, as sources.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hubcap_oci::Digest;
use reqwest::Response;

use super::answer::SignedUrl;
use super::error::Error as ServiceError;
use super::key::EntryKey;
use super::service::{Calls, Found};
use crate::address::AddressPolicy;
use crate::body::{BlobBody, part_of};
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::resume::Fetch;
use crate::fetch::source::Source;
use crate::request::{Redirects, Request, range};
use crate::shortcut::Shortcut;
use crate::speed::Speed;
use crate::status::judge;

/// The longest read into memory, in bytes.
const MAX_READ: u64 = 16 << 20;
/// How long a read into memory may take.
const READ: Duration = Duration::from_secs(60);

/// What all reads of the cache share.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) calls: Arc<Calls>,
    pub(super) limit: ConnectionLimit,
    pub(super) ranges: Shortcut,
    pub(super) speed: Speed,
}

/// An entry that was found; a clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Entry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reading: Arc<Reading>,
    key: EntryKey,
    at: tokio::sync::Mutex<At>,
    /// What the first answer told of it.
    told: OnceLock<Told>,
}

/// Where the entry is to be read for the next minutes.
#[derive(Debug, Clone)]
struct At {
    url: SignedUrl,
    /// The number of the look-up that gave the URL.
    look_up: usize,
}

/// What stays the same for as long as the entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    size: Option<u64>,
    etag: Option<HeaderValue>,
}

/// A content in an entry, or a whole entry, as a source. Where the entry's URL has run out, the entry is looked up again.
#[derive(Debug, Clone)]
pub struct CacheFile {
    entry: Entry,
    range: Option<Range<u64>>,
    digest: Option<Digest>,
}

impl Entry {
    pub(super) fn new(reading: Arc<Reading>, found: Found) -> Self {
        let at = tokio::sync::Mutex::new(At { url: found.url, look_up: 0 });
        Self(Arc::new(Inner { reading, key: found.key, at, told: OnceLock::new() }))
    }

    /// The key that matched.
    pub fn matched_key(&self) -> &str {
        self.0.key.key()
    }

    /// The entry's size in bytes, once something of it was read.
    pub fn size(&self) -> Option<u64> {
        self.0.told.get()?.size
    }

    /// The bytes of `range`, which must not be empty, or the whole entry. `digest` is the content's, where that is known.
    pub fn file(&self, range: Option<Range<u64>>, digest: Option<Digest>) -> CacheFile {
        CacheFile { entry: self.clone(), range, digest }
    }

    /// The bytes of `range`, at most 16 MiB; fewer where the entry ends before.
    ///
    /// # Errors
    /// [`Error`], as the answer means; [`Error::Invalid`] for a range that is too long.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if length > MAX_READ {
            return Err(Error::invalid(format!("{length} bytes are too many to be read at once")));
        }
        let reading = async {
            let mut fetch = Fetch::begin(self.file(Some(range), None), 0).await?;
            let mut bytes = BytesMut::new();
            while let Some(chunk) = fetch.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.freeze())
        };
        let late = |_| Error::unavailable(format!("a read was not complete after {} s", READ.as_secs()));
        tokio::time::timeout(READ, reading).await.map_err(late)?
    }

    async fn ask(&self, headers: HeaderMap) -> Result<Response, Error> {
        let at = self.0.at.lock().await.clone();
        let mut response = self.send(&at.url, headers.clone()).await?;
        if response.status() == StatusCode::FORBIDDEN {
            let url = self.look_up_after(at.look_up).await?;
            response = self.send(&url, headers).await?;
        }
        judge(response)
    }

    async fn send(&self, url: &SignedUrl, headers: HeaderMap) -> Result<Response, Error> {
        let request = Request::new(Method::GET, url.expose().clone(), headers, AddressPolicy::Any);
        Ok(self.0.reading.calls.transport().send(request.with_redirects(Redirects::Return)).await?)
    }

    /// The URL of a later look-up than that. Who comes while one is made gets what it gives.
    async fn look_up_after(&self, look_up: usize) -> Result<SignedUrl, Error> {
        let mut at = self.0.at.lock().await;
        if at.look_up == look_up {
            tracing::debug!(target: "hubcap::fetch", key = self.matched_key(), "looking an entry up again: its URL has run out");
            let key = &self.0.key;
            let found =
                self.0.reading.calls.look_up(&[key.key()], key.version()).await.map_err(in_a_fetch)?;
            let found = found.filter(|found| found.key == *key).ok_or(Error::NotFound)?;
            *at = At { url: found.url, look_up: look_up + 1 };
        }
        Ok(at.url.clone())
    }

    /// The bytes of an answer, if they are of the same entry as those before: another one may have come under its key.
    fn body(&self, body: BlobBody, etag: Option<HeaderValue>) -> Result<BlobBody, Error> {
        let told = Told { size: body.size, etag };
        if *self.0.told.get_or_init(|| told.clone()) != told {
            return Err(Error::invalid("the entry has become another one"));
        }
        Ok(body)
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        if offset == 0 {
            let response = self.ask(HeaderMap::new()).await?;
            let etag = etag(&response);
            return self.body(BlobBody::whole(response), etag);
        }
        let response = self.ask(range(offset, None)).await?;
        let etag = etag(&response);
        self.body(BlobBody::ranged(response, &(offset..u64::MAX))?, etag)
    }

    async fn open_part(&self, part: &Range<u64>) -> Result<BlobBody, Error> {
        let response = self.ask(range(part.start, Some(part.end))).await?;
        let etag = etag(&response);
        self.body(part_of(response, part)?, etag)
    }
}

impl CacheFile {
    /// What is `part` of the content, as a range of the entry.
    fn shifted(range: &Range<u64>, part: &Range<u64>) -> Result<Range<u64>, Error> {
        let shifted =
            range.start.saturating_add(part.start)..range.start.saturating_add(part.end).min(range.end);
        if shifted.is_empty() {
            Err(Error::invalid("there are no such bytes in the entry"))
        } else {
            Ok(shifted)
        }
    }
}

impl fmt::Display for CacheFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the Actions cache", self.entry.matched_key())
    }
}

impl Source for CacheFile {
    fn digest(&self) -> Option<Digest> {
        self.digest
    }

    fn measured(&self, _origin: usize, bytes: u64, took: Duration) {
        self.entry.0.reading.speed.note(bytes, took);
    }

    fn limit(&self) -> &ConnectionLimit {
        &self.entry.0.reading.limit
    }

    fn ranges(&self) -> &Shortcut {
        &self.entry.0.reading.ranges
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let Some(range) = &self.range else { return self.entry.open(offset).await };
        let part = Self::shifted(range, &(offset..u64::MAX))?;
        match self.entry.open_part(&part).await {
            Ok(body) if offset == 0 => Ok(body.within(range).unranged()),
            Ok(body) => Ok(body.within(range)),
            // There is no way to have it but by a range.
            Err(Error::NoRange { why }) if offset == 0 => Err(Error::Invalid { why }),
            Err(error) => Err(error),
        }
    }

    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        match &self.range {
            None => self.entry.open_part(&part).await,
            Some(range) => Ok(self.entry.open_part(&Self::shifted(range, &part)?).await?.within(range)),
        }
    }
}

fn etag(response: &Response) -> Option<HeaderValue> {
    response.headers().get(header::ETAG).cloned()
}

/// What an error of a look-up means to a fetch that has begun.
pub(super) fn in_a_fetch(error: ServiceError) -> Error {
    match error {
        ServiceError::RateLimited { retry_after, .. } => {
            Error::RateLimited { retry_after: Some(retry_after) }
        }
        ServiceError::Away(error) => error,
        error => Error::unavailable(error.to_string()),
    }
}
