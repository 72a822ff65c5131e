//! A file at a signed URL, as GitHub's cache service gives one out: its bytes in order, fetched in parts over several
//! connections, because one is slower than the service.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hubcap_oci::ByteRange;
use url::Url;

use crate::address::Reach;
use crate::body::{BlobBody, whole};
use crate::transport::{Request, Transport};
use crate::{Error, Upstreams};

/// A part, in bytes, and how many are on their way.
const PART: u64 = 4 << 20;
const WIDTH: usize = 8;
/// How often a part is asked for.
const TRIES: usize = 3;

impl Upstreams {
    /// The bytes of the file at `url`, in order. The stream ends with its first error, which does not tell the URL: who
    /// knows that may read the file.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is not given.
    pub async fn archive(&self, url: Url) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let archive = Archive { transport: self.transport(), url };
        let response = archive.ask(0..PART).await?;
        if response.status() == StatusCode::OK {
            let body = BlobBody::new(response, 0..u64::MAX)?;
            return Ok(stream::try_unfold(body, async |mut body| {
                Ok(body.chunk().await?.map(|chunk| (chunk, body)))
            })
            .boxed());
        }
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let range = range.and_then(ByteRange::parse_content_range);
        let Some(ByteRange { start: 0, end, size }) = range.filter(|range| range.end == PART.min(range.size))
        else {
            return Err(Error::invalid("the archive's first part is answered with another range"));
        };
        let first = archive.part(response, 0..end).await;
        let starts = (1..).map(|number| number * PART).take_while(move |start| *start < size);
        let parts = stream::iter(starts).map(move |start| {
            let archive = archive.clone();
            async move { archive.fetch(start..(start + PART).min(size)).await }
        });
        Ok(stream::iter([first]).chain(parts.buffered(WIDTH)).boxed())
    }
}

#[derive(Clone)]
struct Archive {
    transport: Arc<Transport>,
    url: Url,
}

impl Archive {
    async fn fetch(&self, range: std::ops::Range<u64>) -> Result<Bytes, Error> {
        let mut tries = 1;
        loop {
            let fetched = match self.ask(range.clone()).await {
                Ok(response) => self.part(response, range.clone()).await,
                Err(error) => Err(error),
            };
            match fetched {
                Err(error) if tries < TRIES => {
                    tracing::debug!(target: "hubcap::archive", "a part of the archive is asked for again: {error}");
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn ask(&self, range: std::ops::Range<u64>) -> Result<reqwest::Response, Error> {
        let mut headers = HeaderMap::new();
        let range = format!("bytes={}-{}", range.start, range.end - 1);
        headers.insert(header::RANGE, HeaderValue::from_str(&range).map_err(|_| Error::invalid("no range"))?);
        let request = Request { method: Method::GET, url: self.url.clone(), headers, reach: Reach::Named };
        let response = self.transport.send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status => Err(Error::unavailable(format!("the archive is answered with {status}"))),
        }
    }

    async fn part(&self, response: reqwest::Response, range: std::ops::Range<u64>) -> Result<Bytes, Error> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Error::unavailable("a part of the archive is answered with all of it"));
        }
        // 4 MiB at most, so the cast cannot cut.
        let length = (range.end - range.start) as usize;
        let bytes = whole(response, length).await?;
        if bytes.len() != length {
            return Err(Error::unavailable("a part of the archive is cut short"));
        }
        Ok(bytes)
    }
}
