//! Layers: an archive is read to its end or its first error, and a sparse file's data lies within it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hubcap_unpack::fuzzing::archive(bytes);
});
