//! Answers to a request for several ranges.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (Option<&str>, &str, u8, &[u8])| {
    let (content_type, content_range, piece, body) = input;
    let content_type = content_type.unwrap_or("multipart/byteranges; boundary=x");
    hubcap_upstream::fuzzing::ranges(content_type, content_range, body, usize::from(piece));
});
