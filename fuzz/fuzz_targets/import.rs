//! Archives of `docker save`, and OCI layouts in a tar.
#![no_main]

use hubcap_fuzz::Archive;

libfuzzer_sys::fuzz_target!(|archive: Archive| {
    hubcap_store::fuzzing::import(&archive.bytes());
});
