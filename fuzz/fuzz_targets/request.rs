//! A client's request: whom it names, and where it would lead.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    hubcap_proxy::fuzzing::request(text);
});
