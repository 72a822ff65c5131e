//! The body of an answer to a request for some ranges: one range, or several as `multipart/byteranges` (RFC 9110, section
//! 14.6). It is read as what was asked for, or not at all.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{StatusCode, header};
use hubcap_oci::ByteRange;
use reqwest::Response;

use crate::body;
use crate::coding::Codings;
use crate::error::Error;
use crate::fetch::limit::Permits;

/// The longest head of a part, in bytes: its boundary and its headers.
const MAX_HEAD: usize = 4 << 10;

/// The bytes of some ranges, one after the other.
pub struct RangesBody {
    response: Response,
    /// The ranges that are still to come; the first one without what was given out.
    left: VecDeque<ByteRange>,
    state: State,
    /// What came and was not read yet.
    buffer: BytesMut,
    /// It is one connection more than needed.
    _permits: Permits,
}

enum State {
    /// The head of a part, which begins with this text.
    Head { delimiter: String },
    /// The bytes of a range; the next part's head begins with this text.
    Content { delimiter: Option<String> },
}

impl RangesBody {
    /// Takes an answer to a request for these ranges, of which there is at least one.
    ///
    /// # Errors
    /// [`Error::NoRange`] for any other answer.
    pub(crate) fn new(
        response: Response,
        ranges: impl IntoIterator<Item = ByteRange>,
        permits: Permits,
    ) -> Result<Self, Error> {
        let left: VecDeque<ByteRange> = ranges.into_iter().collect();
        if response.status() != StatusCode::PARTIAL_CONTENT || !Codings::read(response.headers()).is_none() {
            return Err(Error::no_range("ranges were asked for, and the whole came"));
        }
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let state = match text(header::CONTENT_TYPE).and_then(boundary) {
            Some(boundary) => State::Head { delimiter: format!("--{boundary}") },
            None => {
                let told = text(header::CONTENT_RANGE);
                if left.len() != 1 || told.and_then(ByteRange::parse_content_range).as_ref() != left.front() {
                    return Err(Error::no_range(format!("other ranges came than were asked for: {told:?}")));
                }
                State::Content { delimiter: None }
            }
        };
        Ok(Self { response, left, state, buffer: BytesMut::new(), _permits: permits })
    }

    /// The next bytes, all of one range; `None` behind the last range.
    ///
    /// # Errors
    /// [`Error::NoRange`] for another part than was asked for, [`Error::Unavailable`] when the connection breaks, is silent or
    /// ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(range) = self.left.front_mut() else { return Ok(None) };
            match &self.state {
                State::Content { .. } if range.start == range.end => {
                    self.left.pop_front();
                    if let State::Content { delimiter: Some(delimiter) } = &mut self.state {
                        self.state = State::Head { delimiter: std::mem::take(delimiter) };
                    }
                }
                State::Content { .. } if !self.buffer.is_empty() => {
                    let length = (self.buffer.len() as u64).min(range.length());
                    range.start += length;
                    // At most the buffer's length, so the cast cannot cut.
                    return Ok(Some(self.buffer.split_to(length as usize).freeze()));
                }
                State::Head { delimiter } if let Some(head) = take_head(&mut self.buffer, delimiter)? => {
                    if content_range(&head) != Some(*range) {
                        return Err(Error::no_range(format!("another part came than {range}")));
                    }
                    let delimiter = delimiter.clone();
                    self.state = State::Content { delimiter: Some(delimiter) };
                }
                State::Head { .. } | State::Content { .. } => self.receive().await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        let Some(bytes) = body::next(&mut self.response).await? else {
            return Err(Error::unavailable("the body ended before the last range"));
        };
        self.buffer.extend_from_slice(&bytes);
        Ok(())
    }
}

/// The boundary of a body of several ranges.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/byteranges") {
        return None;
    }
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    Some(value.trim().trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// Takes a part's head off the buffer, with its delimiter; `None` while it is not all there.
fn take_head(buffer: &mut BytesMut, delimiter: &str) -> Result<Option<String>, Error> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
        return if buffer.len() > MAX_HEAD {
            Err(Error::no_range("a part without headers came"))
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.advance(end);
    // A line break before it belongs to it, and some servers send one before the first as well.
    if head.trim_start_matches("\r\n").starts_with(delimiter) {
        Ok(Some(head))
    } else {
        Err(Error::no_range("no boundary came where a part should begin"))
    }
}

fn content_range(head: &str) -> Option<ByteRange> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-range"))?;
    ByteRange::parse_content_range(value)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::fetch::limit::ConnectionLimit;

    const CONTENT: &[u8] = b"0123456789abcdefghij";

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end, size: CONTENT.len() as u64 }
    }

    fn response(content_type: &str, content_range: &str, body: &[u8], piece: usize) -> Response {
        let pieces: Vec<_> =
            body.chunks(piece).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let answer = http::Response::builder().status(206);
        let answer = answer.header("content-type", content_type).header("content-range", content_range);
        answer.body(reqwest::Body::wrap_stream(stream::iter(pieces))).expect("an answer").into()
    }

    /// The bytes of all ranges as they come, and how it ends.
    async fn read(response: Response, ranges: &[ByteRange]) -> (Vec<u8>, Result<(), Error>) {
        let permits = ConnectionLimit::new().try_acquire().expect("a permit");
        let mut read = Vec::new();
        let mut body = match RangesBody::new(response, ranges.iter().copied(), permits) {
            Ok(body) => body,
            Err(error) => return (read, Err(error)),
        };
        loop {
            match body.chunk().await {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                Ok(None) => return (read, Ok(())),
                Err(error) => return (read, Err(error)),
            }
        }
    }

    fn part(range: ByteRange) -> String {
        let bytes = &CONTENT[range.start as usize..range.end as usize];
        format!(
            "\r\n--x\r\nContent-Type: a/b\r\nContent-range: {range}\r\n\r\n{}",
            String::from_utf8_lossy(bytes)
        )
    }

    #[tokio::test]
    async fn parts_are_read_however_they_are_cut_into_pieces() {
        let ranges = [range(0, 3), range(5, 6), range(10, 20)];
        let body = ranges.map(part).concat() + "\r\n--x--\r\n";
        for (body, kind) in [
            (body.as_str(), "multipart/byteranges; boundary=x"),
            (&body[2..], "Multipart/Byteranges;charset=y; Boundary=\"x\""),
        ] {
            for piece in [1, 7, 1000] {
                let (read, end) = read(response(kind, "", body.as_bytes(), piece), &ranges).await;
                assert_eq!((read.as_slice(), end), (&b"0125abcdefghij"[..], Ok(())), "{piece}");
            }
        }
    }

    #[tokio::test]
    async fn one_range_is_read_plain_or_as_the_only_part() {
        let one = [range(5, 8)];
        let plain = response("a/b", "bytes 5-7/20", b"567", 2);
        assert_eq!(read(plain, &one).await, (b"567".to_vec(), Ok(())));
        let body = part(one[0]) + "\r\n--x--";
        let only = response("multipart/byteranges; boundary=x", "", body.as_bytes(), 100);
        assert_eq!(read(only, &one).await, (b"567".to_vec(), Ok(())));
    }

    #[tokio::test]
    async fn anything_but_the_ranges_that_were_asked_for_is_no_range() {
        let two = [range(0, 3), range(5, 8)];
        let kind = "multipart/byteranges; boundary=x";
        let merged = part(range(0, 8));
        let other = part(two[0]) + &part(range(5, 9));
        let frame = part(two[0]) + "123 no boundary\r\n\r\n";
        for answer in [
            response("a/b", "bytes 0-2/20", b"012", 9),
            response("a/b", "", CONTENT, 9),
            response(kind, "", merged.as_bytes(), 9),
            response(kind, "", other.as_bytes(), 9),
            response(kind, "", frame.as_bytes(), 9),
            response(kind, "", &[b'x'; 3 * MAX_HEAD], 1000),
        ] {
            let (_, end) = read(answer, &two).await;
            assert!(matches!(end, Err(Error::NoRange { .. })), "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_trouble() {
        let two = [range(0, 3), range(5, 8)];
        for body in [part(two[0]), part(two[0]) + "\r\n--x--\r\n", part(two[0])[..50].to_owned()] {
            let answer = response("multipart/byteranges; boundary=x", "", body.as_bytes(), 9);
            let (_, end) = read(answer, &two).await;
            assert!(matches!(end, Err(Error::Unavailable { .. })), "{end:?}");
        }
    }
}
