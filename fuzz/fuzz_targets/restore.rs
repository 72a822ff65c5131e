//! Archives of a store, as they come out of a cache.
#![no_main]

use hubcap_fuzz::Archive;

libfuzzer_sys::fuzz_target!(|archive: Archive| {
    hubcap_store::fuzzing::restore(&archive.bytes());
});
