//! A file at a signed URL, as GitHub's cache service gives one out: its bytes in order, fetched in parts over several
//! connections, because one is slower than the service.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{Method, StatusCode};
use url::Url;

use crate::address::AddressPolicy;
use crate::body::{BlobBody, part_of};
use crate::error::Error;
use crate::request::{Request, range};
use crate::transport::Transport;
use crate::upstreams::Upstreams;

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
        let archive = Archive { transport: Arc::clone(self.transport()), url };
        let response = archive.ask(&(0..PART)).await?;
        let whole = response.status() != StatusCode::PARTIAL_CONTENT;
        let first = BlobBody::new(response, 0..PART)?;
        // One that ignores ranges sends everything at once.
        let size = first.size.filter(|_| !whole).unwrap_or(0);
        let first =
            stream::try_unfold(first, async |mut body| Ok(body.chunk().await?.map(|chunk| (chunk, body))));
        let starts = (1..).map(|number| number * PART).take_while(move |start| *start < size);
        let parts = stream::iter(starts).map(move |start| {
            let archive = archive.clone();
            async move { archive.fetch(start..(start + PART).min(size)).await }
        });
        Ok(first.chain(parts.buffered(WIDTH)).boxed())
    }
}

#[derive(Clone)]
struct Archive {
    transport: Arc<Transport>,
    url: Url,
}

impl Archive {
    async fn fetch(&self, part: Range<u64>) -> Result<Bytes, Error> {
        let mut tries = 1;
        loop {
            match self.part(&part).await {
                Err(error) if tries < TRIES => {
                    tracing::debug!(target: "hubcap::archive", "a part of the archive is asked for again: {error}");
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn part(&self, part: &Range<u64>) -> Result<Bytes, Error> {
        let mut body = part_of(self.ask(part).await?, part)?;
        // 4 MiB at most, so the cast cannot cut.
        let mut bytes = BytesMut::with_capacity((part.end - part.start) as usize);
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    async fn ask(&self, part: &Range<u64>) -> Result<reqwest::Response, Error> {
        let headers = range(part.start, Some(part.end));
        let request = Request::new(Method::GET, self.url.clone(), headers, AddressPolicy::Any);
        let response = self.transport.send(request.without_redirects()).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status => Err(Error::unavailable(format!("the archive is answered with {status}"))),
        }
    }
}
