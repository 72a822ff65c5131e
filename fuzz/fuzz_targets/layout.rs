//! index.json, as it comes out of a restored archive: what was written can be read, and written again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hubcap_store::fuzzing::image_index(bytes);
});
