//! Bodies: a blob in pieces, or a small document as a whole.

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use hubcap_oci::ByteRange;
use reqwest::Response;

use crate::error::Error;

/// A body may pause so long; a connection that is silent for longer is dead.
const IDLE: Duration = Duration::from_secs(30);

/// A document may take so long altogether: one that trickles would keep its clients waiting for as long as they do,
/// which is 30 s for containerd.
const DOCUMENT: Duration = Duration::from_secs(20);

/// A blob as it arrives.
#[derive(Debug)]
pub struct BlobBody {
    /// The whole length, where the upstream told it.
    pub size: Option<u64>,
    /// Where the next byte belongs: at first where it was asked for, or 0 when the upstream ignored the range.
    pub position: u64,
    /// Which of its source's origins it comes from.
    pub(crate) origin: usize,
    response: Response,
    /// Whether it is the range that was asked for.
    is_partial: bool,
    /// Bytes that have to come still, where that is known.
    left: Option<u64>,
}

impl BlobBody {
    /// Takes an answer to a request for the bytes of `asked`, which may end beyond the blob.
    pub(crate) fn new(response: Response, asked: Range<u64>) -> Result<Self, Error> {
        let length = content_length(&response);
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(Self {
                size: length,
                position: 0,
                origin: 0,
                response,
                is_partial: false,
                left: length,
            });
        }
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        match range.and_then(ByteRange::parse_content_range) {
            Some(range) if range.start == asked.start && range.end == range.size.min(asked.end) => {
                let left = Some(range.end - range.start);
                let (size, position) = (Some(range.size), range.start);
                Ok(Self { size, position, origin: 0, response, is_partial: true, left })
            }
            _ => Err(Error::invalid(format!("a 206 with Content-Range {range:?} for the bytes {asked:?}"))),
        }
    }

    /// The same, as it comes from one of several origins.
    pub(crate) fn of(self, origin: usize) -> Self {
        Self { origin, ..self }
    }

    /// Whether it is the range that was asked for, and not the whole blob.
    pub(crate) const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks, is silent for 30 s or ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = next(&mut self.response).await?;
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.position += length;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(length);
        }
        match (chunk, self.left) {
            (None, Some(left)) if left > 0 => {
                Err(Error::unavailable(format!("the body ended {left} bytes early")))
            }
            (chunk, _) => Ok(chunk),
        }
    }
}

/// Takes an answer to a request for a part, where it is that part.
pub(crate) fn part_of(response: Response, part: &Range<u64>) -> Result<BlobBody, Error> {
    let body = BlobBody::new(response, part.clone())?;
    if body.position != part.start {
        return Err(Error::invalid("a range was asked for, and the whole came"));
    }
    Ok(body)
}

async fn next(response: &mut Response) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(IDLE, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(Error::connection(error)),
        Err(_) => Err(Error::unavailable(format!("nothing came for {} s", IDLE.as_secs()))),
    }
}

/// Reads a document of at most `limit` bytes, which may take 20 s.
pub(crate) async fn whole(response: Response, limit: usize) -> Result<Bytes, Error> {
    within(DOCUMENT, read(response, limit)).await
}

async fn within<T>(patience: Duration, reading: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late =
        |_| Error::unavailable(format!("a document was not complete after {} s", patience.as_secs_f32()));
    tokio::time::timeout(patience, reading).await.map_err(late)?
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, Error> {
    let too_long = || Error::invalid(format!("a document of more than {limit} bytes"));
    if content_length(&response).is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = next(&mut response).await? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// The media type, without its parameters.
pub(crate) fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_owned())
}

/// `Content-Length` itself: for a HEAD, the client library knows only that there is no body.
pub(crate) fn content_length(response: &Response) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn a_document_that_trickles_for_ever_is_given_up() {
        let drops =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b" "))).then(async |drop| {
                tokio::task::yield_now().await;
                drop
            });
        let trickle = Response::from(http::Response::new(reqwest::Body::wrap_stream(drops)));
        let given_up = within(Duration::from_millis(20), read(trickle, usize::MAX)).await;
        assert!(matches!(given_up, Err(Error::Unavailable { .. })), "{given_up:?}");
    }
}
