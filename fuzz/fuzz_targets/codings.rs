//! Packed bodies: what comes piece by piece is unpacked as what comes at once.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, u8, &[u8])| {
    let (coding, piece, bytes) = input;
    let coding = ["gzip", "deflate", "zstd", "zstd, gzip", "deflate, deflate"][usize::from(coding % 5)];
    hubcap_upstream::fuzzing::packed(coding, bytes, usize::from(piece));
});
