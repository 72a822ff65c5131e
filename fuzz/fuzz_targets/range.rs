//! Range and Content-Range: whatever is asked for lies within the content.
#![no_main]

use hubcap_oci::{ByteRange, RangeRequest, Selection};

libfuzzer_sys::fuzz_target!(|input: (&str, u64)| {
    let (text, size) = input;
    let ranges = match RangeRequest::parse(Some(text)).resolve(size) {
        Ok(Selection::Range(range)) => vec![range],
        Ok(Selection::Ranges(ranges)) => ranges,
        Ok(Selection::Whole) | Err(_) => Vec::new(),
    };
    for range in ranges {
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        assert_eq!(ByteRange::parse_content_range(&range.to_string()), Some(range));
    }
    if let Some(range) = ByteRange::parse_content_range(text) {
        assert!(range.start < range.end && range.end <= range.size, "{range:?}");
    }
});
