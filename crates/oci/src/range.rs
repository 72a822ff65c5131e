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
    /// How many bytes it has.
    pub const fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Reads a `Content-Range` of a 206; `None` unless the whole length is told and the range lies in it.
    pub fn parse_content_range(value: &str) -> Option<Self> {
        let (span, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (start, last, size) = (number(first)?, number(last)?, number(size)?);
        (start <= last && last < size).then(|| Self { start, end: last + 1, size })
    }
}

/// So many ranges are answered at most; podman asks for up to 1024 at once. Of a longer list, the whole content is sent.
const MAX_RANGES: usize = 1024;

/// What a request's `Range` header asks for, before the content's length is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeRequest {
    /// No header, another unit, or not to be understood: all are answered with the whole content (section 14.2).
    Whole,
    /// These ranges, of which there is at least one.
    Ranges(Vec<RangeSpec>),
}

/// One range of a `Range` header (section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `5-` and `5-9`, the last byte included.
    From(u64, Option<u64>),
    /// `-5`: the last five bytes.
    Suffix(u64),
    /// `9-5`: understood, and never satisfiable.
    Impossible,
}

/// Which bytes of a content are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All: 200.
    Whole,
    /// One range: 206.
    Range(ByteRange),
    /// Several ranges, none of which overlaps another, in the order of the request: 206 as `multipart/byteranges`.
    Ranges(Vec<ByteRange>),
}

impl RangeRequest {
    /// Reads a `Range` header.
    pub fn parse(header: Option<&str>) -> Self {
        header.and_then(Self::parse_value).map_or(Self::Whole, Self::Ranges)
    }

    fn parse_value(value: &str) -> Option<Vec<RangeSpec>> {
        let (unit, set) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // A list may have empty elements (section 5.6.1.2).
        let specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let specs: Vec<_> = specs.take(MAX_RANGES + 1).map(RangeSpec::parse).collect::<Option<_>>()?;
        (1..=MAX_RANGES).contains(&specs.len()).then_some(specs)
    }

    /// The bytes to send of a content of `size` bytes.
    ///
    /// Ranges that overlap are a mistake or an attack (section 17.15): the whole is sent then. Ranges that only touch each other
    /// stay apart, because podman wants as many parts as it asked for.
    ///
    /// # Errors
    /// [`Unsatisfiable`] when no byte of any range exists (416).
    pub fn resolve(&self, size: u64) -> Result<Selection, Unsatisfiable> {
        let Self::Ranges(specs) = self else { return Ok(Selection::Whole) };
        let ranges: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.resolve(size)).collect();
        match ranges[..] {
            [] => Err(Unsatisfiable { size }),
            [range] => Ok(Selection::Range(range)),
            _ if overlap(&ranges) => Ok(Selection::Whole),
            _ => Ok(Selection::Ranges(ranges)),
        }
    }
}

impl RangeSpec {
    fn parse(spec: &str) -> Option<Self> {
        match spec.split_once('-')? {
            ("", length) => number(length).map(Self::Suffix),
            (first, "") => number(first).map(|first| Self::From(first, None)),
            (first, last) => match (number(first)?, number(last)?) {
                (first, last) if last < first => Some(Self::Impossible),
                (first, last) => Some(Self::From(first, Some(last))),
            },
        }
    }

    /// The bytes of a content of `size` bytes; `None` when there is none.
    fn resolve(self, size: u64) -> Option<ByteRange> {
        let (start, end) = match self {
            Self::From(first, None) => (first, size),
            Self::From(first, Some(last)) => (first, last.saturating_add(1).min(size)),
            Self::Suffix(length) => (size.saturating_sub(length), size),
            Self::Impossible => return None,
        };
        (start < end).then_some(ByteRange { start, end, size })
    }
}

/// Whether a byte is in two of the ranges.
fn overlap(ranges: &[ByteRange]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.windows(2).any(|two| two[1].start < two[0].end)
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

    /// The ranges that are sent, none for the whole; `Err` for 416.
    fn answer(header: &str, size: u64) -> Result<Vec<(u64, u64)>, ()> {
        let selected = RangeRequest::parse(Some(header)).resolve(size).map_err(|_| ())?;
        let ranges = match selected {
            Selection::Whole => Vec::new(),
            Selection::Range(range) => vec![range],
            Selection::Ranges(ranges) => {
                assert!(ranges.len() > 1, "{ranges:?}");
                ranges
            }
        };
        Ok(ranges.iter().map(|range| (range.start, range.end)).collect())
    }

    #[test]
    fn single_ranges_are_answered_as_the_conformance_suite_asks() {
        assert_eq!(answer("bytes=500-1499", 2048), Ok(vec![(500, 1500)]));
        assert_eq!(answer("bytes=500-", 2048), Ok(vec![(500, 2048)]));
        assert_eq!(answer("bytes=-500", 2048), Ok(vec![(1548, 2048)]));
        assert_eq!(answer("bytes=2000-5000", 2048), Ok(vec![(2000, 2048)]));
        assert_eq!(answer("bytes=500-0", 2048), Err(()));
        assert_eq!(answer("bytes=5000-10000", 2048), Err(()));
        assert_eq!(answer("bytes=-0", 2048), Err(()));
        assert_eq!(answer("bytes=0-0", 0), Err(()));
    }

    #[test]
    fn several_ranges_are_sent_in_the_order_of_the_request() {
        assert_eq!(answer("bytes=0-1,4-5", 10), Ok(vec![(0, 2), (4, 6)]));
        assert_eq!(answer("bytes=4-5,0-1", 10), Ok(vec![(4, 6), (0, 2)]));
        assert_eq!(answer("Bytes = 0-1 ,, 4-4,\t-2,", 10), Ok(vec![(0, 2), (4, 5), (8, 10)]));
        assert_eq!(answer("bytes=0-1,2-3", 10), Ok(vec![(0, 2), (2, 4)]), "as many as were asked for");
    }

    #[test]
    fn of_several_ranges_those_without_a_byte_are_left_out() {
        assert_eq!(answer("bytes=0-1,10-,4-5", 10), Ok(vec![(0, 2), (4, 6)]));
        assert_eq!(answer("bytes=4-5,10-", 10), Ok(vec![(4, 6)]));
        assert_eq!(answer("bytes=4-5,9-5", 10), Ok(vec![(4, 6)]));
        assert_eq!(answer("bytes=10-,-0", 10), Err(()));
    }

    #[test]
    fn ranges_that_overlap_are_answered_with_the_whole_content() {
        for header in ["bytes=0-4,4-5", "bytes=0-0,0-0", "bytes=6-7,0-9", "bytes=0-,-1", "bytes=0-,0-,0-"] {
            assert_eq!(answer(header, 10), Ok(vec![]), "{header}");
        }
    }

    #[test]
    fn as_many_ranges_as_podman_asks_for_are_answered_and_more_are_the_whole() {
        let ranges = |count: usize| {
            let specs: Vec<_> = (0..count).map(|at| format!("{}-{}", at * 4, at * 4 + 1)).collect();
            answer(&format!("bytes={}", specs.join(",")), 1 << 20).map(|ranges| ranges.len())
        };
        assert_eq!((ranges(1024), ranges(1025)), (Ok(1024), Ok(0)));
    }

    #[test]
    fn what_is_not_understood_gets_the_whole_content() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=0-1,a",
            "bytes=0-1 4-5",
            "bytes=+1-2",
        ] {
            assert_eq!(answer(header, 10), Ok(vec![]), "{header}");
        }
        assert_eq!(answer("bytes=0-99999999999999999999999", 10), Ok(vec![]));
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
                for (start, end) in answer(&header, size).unwrap_or_default() {
                    proptest::prop_assert!(start < end && end <= size);
                }
            }
        }

        #[test]
        fn numbers_resolve_within_the_content(specs: Vec<(u64, Option<u64>)>, size: u64) {
            let text = |(first, last): &(u64, Option<u64>)| match last {
                Some(last) => format!("{first}-{last}"),
                None => format!("-{first}"),
            };
            let header = format!("bytes={}", specs.iter().map(text).collect::<Vec<_>>().join(","));
            for (start, end) in answer(&header, size).unwrap_or_default() {
                proptest::prop_assert!(start < end && end <= size);
            }
        }
    }
}
