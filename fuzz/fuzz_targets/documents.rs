//! Small documents of an upstream: tokens, lists of tags, the answers of GitHub's cache service.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hubcap_upstream::fuzzing::documents(bytes);
});
