//! The files of dockerd, containerd, BuildKit and podman: hubcap's part goes in and out of whatever their users have written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hubcap_clients::fuzzing::files(bytes);
});
