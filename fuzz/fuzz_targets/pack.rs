//! Packs out of GitHub's cache, which strangers may have written.
#![no_main]

use hubcap_store::fuzzing;

libfuzzer_sys::fuzz_target!(|input: (Option<&[u8]>, &[u8])| match input {
    (Some(directory), head) => fuzzing::pack(directory, head),
    (None, bytes) => fuzzing::take_pack(bytes),
});
