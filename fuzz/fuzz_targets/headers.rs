//! What an upstream says in its headers: challenges, links, redirects, limits, codings.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hubcap_upstream::fuzzing::headers(bytes);
});
