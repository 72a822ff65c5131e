//! Range and Content-Range: whatever is asked for lies within the content.
#![no_main]

use hubcap_oci::{ByteRange, RangeRequest};

libfuzzer_sys::fuzz_target!(|input: (&str, u64)| {
    let (text, size) = input;
    if let Ok(Some(range)) = RangeRequest::parse(Some(text)).resolve(size) {
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        assert_eq!(ByteRange::parse_content_range(&range.to_string()), Some(range));
    }
    if let Some(range) = ByteRange::parse_content_range(text) {
        assert!(range.start < range.end && range.end <= range.size, "{range:?}");
    }
});
