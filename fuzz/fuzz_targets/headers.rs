//! What an upstream says in its headers: WWW-Authenticate, Link, and the limits.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    hubcap_upstream::fuzzing::headers(text);
});
