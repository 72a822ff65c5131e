//! Several ranges in one body: `multipart/byteranges` (RFC 9110, section 14.6).

use bytes::Bytes;
use hubcap_cache::{BlobBody, Error};
use hubcap_oci::{ByteRange, Digest};

/// How many digits of the digest a boundary has: a boundary may have 70 characters.
const DIGITS: usize = 48;

/// The frame around the ranges of one content.
pub(crate) struct Multipart {
    ranges: Vec<ByteRange>,
    media_type: &'static str,
    boundary: String,
    place: Place,
}

/// What comes next.
enum Place {
    /// The head of a part, by its number; behind the last one the end.
    Head(usize),
    /// So many bytes of this part.
    Content { part: usize, left: u64 },
    /// Nothing.
    Over,
}

impl Multipart {
    /// The frame of these ranges, of which there are several, of a content of this type. The boundary is a part of the content's
    /// digest: no content has its own digest in it.
    pub(crate) fn new(ranges: Vec<ByteRange>, media_type: &'static str, digest: &Digest) -> Self {
        let boundary = format!("hubcap-{}", digest.hex().get(..DIGITS).unwrap_or_default());
        Self { ranges, media_type, boundary, place: Place::Head(0) }
    }

    /// The body's `Content-Type`.
    pub(crate) fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The body's length in bytes.
    pub(crate) fn length(&self) -> u64 {
        let parts = self.ranges.iter().enumerate();
        let framed = parts.map(|(part, range)| self.head(part, range).len() as u64 + range.length());
        framed.sum::<u64>() + self.end().len() as u64
    }

    /// The next bytes; `None` at the end. `content` gives the bytes of the ranges one after the other.
    ///
    /// # Errors
    /// The content's, after which the client's connection must be cut.
    pub(crate) async fn chunk(&mut self, content: &mut BlobBody) -> Result<Option<Bytes>, Error> {
        match self.place {
            Place::Head(part) => Ok(Some(self.begin(part))),
            Place::Content { part, left } => {
                let Some(chunk) = content.chunk().await? else {
                    return Err(Error::Internal { why: format!("{left} bytes of a range are missing") });
                };
                let left = left.checked_sub(chunk.len() as u64);
                let left = left.ok_or_else(|| Error::Internal { why: "too much came of a range".into() })?;
                self.place = if left > 0 { Place::Content { part, left } } else { Place::Head(part + 1) };
                Ok(Some(chunk))
            }
            Place::Over => Ok(None),
        }
    }

    /// Begins a part, or ends the body behind the last one.
    fn begin(&mut self, part: usize) -> Bytes {
        let Some(range) = self.ranges.get(part) else {
            self.place = Place::Over;
            return self.end().into();
        };
        self.place = Place::Content { part, left: range.length() };
        self.head(part, range).into()
    }

    fn head(&self, part: usize, range: &ByteRange) -> String {
        // The line break before a boundary belongs to it, and before the first one there is nothing to separate.
        let before = if part == 0 { "" } else { "\r\n" };
        let Self { boundary, media_type, .. } = self;
        format!("{before}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n")
    }

    fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::Algorithm;

    use super::*;

    fn multipart(algorithm: Algorithm) -> Multipart {
        let range = |start, end| ByteRange { start, end, size: 1000 };
        Multipart::new(vec![range(0, 2), range(10, 110)], "a/b", &Digest::of(algorithm, b"x"))
    }

    #[test]
    fn the_frame_is_that_of_the_rfc() {
        let mut multipart = multipart(Algorithm::Sha256);
        let boundary = "hubcap-2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db";
        assert_eq!(multipart.media_type(), format!("multipart/byteranges; boundary={boundary}"));
        let head = |range: &str| {
            format!("--{boundary}\r\nContent-Type: a/b\r\nContent-Range: bytes {range}/1000\r\n\r\n")
        };
        let frame = [0, 1, 2].map(|part| multipart.begin(part));
        assert_eq!(frame[0], head("0-1"));
        assert_eq!(frame[1], format!("\r\n{}", head("10-109")));
        assert_eq!(frame[2], format!("\r\n--{boundary}--\r\n"));
        let length: usize = frame.iter().map(Bytes::len).sum();
        assert_eq!(multipart.length(), length as u64 + 2 + 100);
    }

    #[test]
    fn a_boundary_has_at_most_70_characters_whatever_the_digest() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            assert!((40..=70).contains(&multipart(algorithm).boundary.len()));
        }
    }
}
