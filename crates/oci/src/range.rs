//! `Range` and `Content-Range` for bytes (RFC 9110, section 14).

use std::fmt;

/// Bytes `start..end` of a content that is `size` long; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// The length of the whole content.
    pub size: u64,
}

/// The value of `Content-Range`: `bytes 0-9/100`.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/{}", self.start, self.end - 1, self.size)
    }
}

impl ByteRange {
    /// Reads a `Content-Range` of a 206; `None` unless the whole length is told and the range lies in it.
    pub fn parse_content_range(value: &str) -> Option<Self> {
        let (span, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (start, last, size) = (number(first)?, number(last)?, number(size)?);
        (start <= last && last < size).then(|| Self { start, end: last + 1, size })
    }
}

/// What a request's `Range` header asks for, before the content's length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeRequest {
    /// No header, one of several ranges, another unit, or not to be understood: all are answered with the
    /// whole content (section 14.2 allows it, and clients of several ranges take a 200).
    Whole,
    /// `bytes=5-` and `bytes=5-9`, the last byte included.
    From(u64, Option<u64>),
    /// `bytes=-5`: the last five bytes.
    Suffix(u64),
    /// `bytes=9-5`: understood, and never satisfiable.
    Impossible,
}

impl RangeRequest {
    /// Reads a `Range` header.
    pub fn parse(header: Option<&str>) -> Self {
        header.and_then(Self::parse_value).unwrap_or(Self::Whole)
    }

    fn parse_value(value: &str) -> Option<Self> {
        let (unit, set) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return None;
        }
        match set.trim().split_once('-')? {
            ("", length) => number(length).map(Self::Suffix),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => match (number(first)?, number(last)?) {
                (first, last) if last < first => Some(Self::Impossible),
                (first, last) => Some(Self::From(first, Some(last))),
            },
        }
    }

    /// The bytes to send of a content of `size` bytes: `Ok(None)` for the whole (200), a range (206), or
    /// `Err` when no byte of it exists (416).
    pub fn resolve(self, size: u64) -> Result<Option<ByteRange>, Unsatisfiable> {
        let range = |start, end| {
            if start < end { Ok(Some(ByteRange { start, end, size })) } else { Err(Unsatisfiable { size }) }
        };
        match self {
            Self::Whole => Ok(None),
            Self::From(first, None) => range(first, size),
            Self::From(first, Some(last)) => range(first, last.saturating_add(1).min(size)),
            Self::Suffix(length) => range(size.saturating_sub(length), size),
            Self::Impossible => Err(Unsatisfiable { size }),
        }
    }
}

/// No byte of the range exists: 416.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsatisfiable {
    /// The length of the whole content, for `Content-Range: bytes */size`.
    pub size: u64,
}

/// Digits only: `str::parse` would take a leading '+'.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(header: &str, size: u64) -> Result<Option<(u64, u64)>, ()> {
        RangeRequest::parse(Some(header))
            .resolve(size)
            .map(|range| range.map(|range| (range.start, range.end)))
            .map_err(|_| ())
    }

    #[test]
    fn single_ranges_are_answered_as_the_conformance_suite_asks() {
        assert_eq!(answer("bytes=500-1499", 2048), Ok(Some((500, 1500))));
        assert_eq!(answer("bytes=500-", 2048), Ok(Some((500, 2048))));
        assert_eq!(answer("bytes=-500", 2048), Ok(Some((1548, 2048))));
        assert_eq!(answer("bytes=2000-5000", 2048), Ok(Some((2000, 2048))));
        assert_eq!(answer("bytes=500-0", 2048), Err(()));
        assert_eq!(answer("bytes=5000-10000", 2048), Err(()));
        assert_eq!(answer("bytes=-0", 2048), Err(()));
        assert_eq!(answer("bytes=0-0", 0), Err(()));
    }

    #[test]
    fn what_is_not_understood_gets_the_whole_content() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=+1-2"]
        {
            assert_eq!(answer(header, 10), Ok(None), "{header}");
        }
        assert_eq!(answer("bytes=0-99999999999999999999999", 10), Ok(None));
    }

    #[test]
    fn a_content_range_must_lie_in_its_content() {
        let range = ByteRange { start: 5, end: 10, size: 10 };
        assert_eq!(ByteRange::parse_content_range(&range.to_string()), Some(range));
        for value in [
            "bytes */10",
            "bytes 5-10/10",
            "bytes 6-5/10",
            "bytes 0-1/*",
            "0-1/2",
            "bytes 0-18446744073709551615/1",
        ] {
            assert_eq!(ByteRange::parse_content_range(value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_range_always_lies_in_its_content(header: String, size: u64) {
            for header in [header.clone(), format!("bytes={header}")] {
                if let Ok(Some(range)) = RangeRequest::parse(Some(&header)).resolve(size) {
                    proptest::prop_assert!(range.start < range.end && range.end <= size);
                }
            }
        }

        #[test]
        fn numbers_resolve_within_the_content(first: u64, last: u64, size: u64) {
            for request in [RangeRequest::From(first, Some(last)), RangeRequest::From(first, None), RangeRequest::Suffix(first)] {
                if let Ok(Some(range)) = request.resolve(size) {
                    proptest::prop_assert!(range.start < range.end && range.end <= size);
                }
            }
        }
    }
}
