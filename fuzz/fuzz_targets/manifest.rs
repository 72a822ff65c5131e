//! Manifests and indexes, as an upstream sends them.
#![no_main]

use hubcap_oci::{Algorithm, Digest, Manifest};

libfuzzer_sys::fuzz_target!(|input: (&[u8], Option<&str>)| {
    let (bytes, content_type) = input;
    if let Ok(manifest) = Manifest::parse(Digest::of(Algorithm::Sha256, bytes), bytes, content_type) {
        assert_eq!(manifest.descriptor.size, bytes.len() as u64);
    }
});
