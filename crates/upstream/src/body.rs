//! Bodies: a blob in pieces, or a small document as a whole.

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use hubcap_oci::ByteRange;
use reqwest::Response;

use crate::coding::{Codings, Decoded, Decoder};
use crate::error::Error;
use crate::memory::{Room, SMALL_DOCUMENT};

/// A body may pause so long; a connection that is silent for longer is dead.
const IDLE: Duration = Duration::from_secs(30);

/// A document may take so long altogether: one that trickles would keep its clients waiting for as long as they do,
/// which is 30 s for containerd.
const DOCUMENT: Duration = Duration::from_secs(20);

/// A blob as it arrives.
#[derive(Debug)]
pub struct BlobBody {
    /// The whole length, where the upstream told it; of a packed body, where it is known otherwise.
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
    /// What unpacks it, where it is packed.
    decoder: Option<Decoder>,
}

impl BlobBody {
    /// Takes an answer to a request for the whole, whatever range it says to be: the digest will tell.
    pub(crate) fn whole(response: Response) -> Self {
        let length = content_length(&response);
        Self {
            size: length,
            position: 0,
            origin: 0,
            response,
            is_partial: false,
            left: length,
            decoder: None,
        }
    }

    /// The same for a body that is packed so; the content's own length is `size`, where that is known.
    pub(crate) fn packed(response: Response, codings: Codings, size: Option<u64>) -> Self {
        Self { size, decoder: Some(Decoder::new(codings)), ..Self::whole(response) }
    }

    /// Takes an answer to a request for the bytes of `asked`, which may end beyond the blob. An origin that ignores ranges
    /// gives the whole.
    ///
    /// # Errors
    /// [`Error::NoRange`] for another range, or one that contradicts itself.
    pub(crate) fn ranged(response: Response, asked: &Range<u64>) -> Result<Self, Error> {
        let (headers, codings) = (response.headers(), Codings::read(response.headers()));
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // How a packed whole is to be read is found out by who asks for it.
            let is_packed = !codings.is_none();
            return if is_packed {
                Err(Error::no_range("the whole came, packed"))
            } else {
                Ok(Self::whole(response))
            };
        }
        let told = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let range = told.and_then(ByteRange::parse_content_range);
        let several = content_type(headers).is_some_and(|kind| kind.starts_with("multipart/"));
        let range = range.filter(|range| {
            let length = range.end - range.start;
            range.start == asked.start
                && range.end == range.size.min(asked.end)
                && content_length(&response).is_none_or(|told| told == length)
                && !several
                && !codings.is_of_transfer()
        });
        let Some(range) = range else {
            return Err(Error::no_range(format!(
                "a 206 with Content-Range {told:?} for the bytes {asked:?}"
            )));
        };
        let left = Some(range.end - range.start);
        let (size, position) = (Some(range.size), range.start);
        Ok(Self { size, position, origin: 0, response, is_partial: true, left, decoder: None })
    }

    /// The same, as it comes from one of several origins.
    pub(crate) fn of(self, origin: usize) -> Self {
        Self { origin, ..self }
    }

    /// The same for who knows only the bytes of `range`, which are a content of their own. It must be a range.
    pub(crate) fn within(self, range: &Range<u64>) -> Self {
        let size = self.size.map(|size| size.min(range.end).saturating_sub(range.start));
        Self { size, position: self.position.saturating_sub(range.start), ..self }
    }

    /// The same as the whole of a content, although it came as a range of something longer.
    pub(crate) fn unranged(self) -> Self {
        Self { is_partial: false, ..self }
    }

    /// Whether it is the range that was asked for, and not the whole blob.
    pub(crate) const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether it comes packed, so that a range of what comes is none of the content.
    pub(crate) const fn is_packed(&self) -> bool {
        self.decoder.is_some()
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks, is silent for 30 s or ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Self { response, left, decoder, .. } = self;
        let chunk = match decoder {
            None => received(response, left).await?,
            Some(decoder) => loop {
                match decoder.take()? {
                    Decoded::Bytes(bytes) => break Some(bytes),
                    Decoded::End => break None,
                    Decoded::NeedsMore => {}
                }
                match received(response, left).await? {
                    Some(packed) => decoder.give(packed),
                    None => decoder.end(),
                }
            },
        };
        self.position += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }
}

/// Takes an answer to a request for a part, where it is that part.
///
/// # Errors
/// [`Error::NoRange`]
pub(crate) fn part_of(response: Response, part: &Range<u64>) -> Result<BlobBody, Error> {
    let body = BlobBody::ranged(response, part)?;
    if body.position != part.start {
        return Err(Error::no_range("a range was asked for, and the whole came"));
    }
    Ok(body)
}

/// The next bytes as they come; `None` at the end, which must not be before all that are `left` have come.
async fn received(response: &mut Response, left: &mut Option<u64>) -> Result<Option<Bytes>, Error> {
    let chunk = next(response).await?;
    if let Some(left) = left {
        *left = left.saturating_sub(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
    }
    match (&chunk, left) {
        (None, Some(left)) if *left > 0 => {
            Err(Error::unavailable(format!("the body ended {left} bytes early")))
        }
        _ => Ok(chunk),
    }
}

/// The next bytes as they come; `None` at the end of the connection's bytes.
pub(crate) async fn next(response: &mut Response) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(IDLE, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(Error::connection(error)),
        Err(_) => Err(Error::unavailable(format!("nothing came for {} s", IDLE.as_secs()))),
    }
}

/// Reads a document of at most `limit` bytes, which may take 20 s once there is memory for it, and unpacks it where it came
/// packed. `from` is who gives it, with whom memory is shared, and `patience` how long memory is waited for.
pub(crate) async fn whole(
    mut response: Response,
    from: &str,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Error> {
    let too_long = || Error::invalid(format!("a document of more than {limit} bytes"));
    let length = content_length(&response);
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let codings = Codings::read(response.headers());
    let mut bytes = BytesMut::new();
    let mut room = None;
    let needs_room = length.is_some_and(|length| length > SMALL_DOCUMENT as u64);
    let is_read = !needs_room
        && within(DOCUMENT, read(&mut response, &mut bytes, SMALL_DOCUMENT.min(limit))).await? == Read::All;
    if !is_read {
        if needs_room || limit > SMALL_DOCUMENT {
            // Within the limit, which fits into memory.
            let needed = length.map_or(limit, |length| length as usize);
            room = Some(Room::take(from, needed, patience).await?);
        }
        if within(DOCUMENT, read(&mut response, &mut bytes, limit)).await? == Read::Part {
            return Err(too_long());
        }
    }
    let packed = bytes.freeze();
    let small = codings.clone().unpack(packed.clone(), SMALL_DOCUMENT.min(limit));
    let bytes = match small {
        Ok(bytes) => bytes,
        // How long it becomes is not known before.
        Err(_) => {
            drop(room);
            room = Some(Room::take(from, limit, patience).await?);
            codings.unpack(packed, limit)?
        }
    };
    Ok(match room {
        Some(room) => room.hold(bytes),
        None => bytes,
    })
}

async fn within<T>(patience: Duration, reading: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late =
        |_| Error::unavailable(format!("a document was not complete after {} s", patience.as_secs_f32()));
    tokio::time::timeout(patience, reading).await.map_err(late)?
}

/// How much of a document was read.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    All,
    /// More than was wanted at most.
    Part,
}

/// Adds what comes to `bytes`, until these are more than `most`.
async fn read(response: &mut Response, bytes: &mut BytesMut, most: usize) -> Result<Read, Error> {
    while bytes.len() <= most {
        let Some(chunk) = next(response).await? else { return Ok(Read::All) };
        bytes.extend_from_slice(&chunk);
    }
    Ok(Read::Part)
}

/// The media type, without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_owned())
}

/// `Content-Length` itself: for a HEAD, the client library knows only that there is no body.
pub(crate) fn content_length(response: &Response) -> Option<u64> {
    let headers = response.headers();
    // Where there is a transfer coding it alone says where the body ends (RFC 9112, section 6.3).
    let length =
        headers.get(header::CONTENT_LENGTH).filter(|_| !headers.contains_key(header::TRANSFER_ENCODING));
    length?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn partial(headers: &[(&'static str, &'static str)]) -> Response {
        let mut response = http::Response::new(reqwest::Body::from(""));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        for (name, value) in headers {
            response.headers_mut().append(*name, http::HeaderValue::from_static(value));
        }
        response.into()
    }

    #[test]
    fn a_206_is_taken_for_the_range_alone_that_was_asked_for() {
        let taken = |headers: &[_]| BlobBody::ranged(partial(headers), &(5..u64::MAX)).is_ok();
        assert!(taken(&[("content-range", "bytes 5-9/10"), ("content-length", "5")]));
        assert!(taken(&[("content-range", "bytes 5-9/10")]));
        for headers in [
            &[][..],
            &[("content-range", "bytes 5-9/*")],
            &[("content-range", "5-9/10")],
            &[("content-range", "bytes 0-9/10")],
            &[("content-range", "bytes 6-9/10")],
            &[("content-range", "bytes 5-8/10")],
            &[("content-range", "bytes 5-9/10"), ("content-length", "10")],
            &[("content-range", "bytes 5-9/10"), ("content-type", "multipart/byteranges; boundary=x")],
            &[("content-range", "bytes 5-9/10"), ("transfer-encoding", "gzip")],
        ] {
            let refused = BlobBody::ranged(partial(headers), &(5..u64::MAX));
            assert!(matches!(refused, Err(Error::NoRange { .. })), "{headers:?}");
        }
    }

    #[test]
    fn a_length_beside_a_transfer_coding_does_not_count() {
        assert_eq!(content_length(&partial(&[("content-length", "7")])), Some(7));
        assert_eq!(
            content_length(&partial(&[("content-length", "7"), ("transfer-encoding", "chunked")])),
            None
        );
    }

    #[tokio::test]
    async fn a_document_that_trickles_for_ever_is_given_up() {
        let drops =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b" "))).then(async |drop| {
                tokio::task::yield_now().await;
                drop
            });
        let mut trickle = Response::from(http::Response::new(reqwest::Body::wrap_stream(drops)));
        let mut bytes = BytesMut::new();
        let given_up = within(Duration::from_millis(20), read(&mut trickle, &mut bytes, usize::MAX)).await;
        assert!(matches!(given_up, Err(Error::Unavailable { .. })), "{given_up:?}");
    }
}
