//! What the tests stand on.

pub(crate) mod actions_cache;
pub(crate) mod bridge;
pub(crate) mod disk;
pub(crate) mod docs;
pub(crate) mod hubcap;
pub(crate) mod image;
pub(crate) mod impostor;
pub(crate) mod machine;
pub(crate) mod multipart;
pub(crate) mod origin;
pub(crate) mod programs;
pub(crate) mod runner;
pub(crate) mod user;

use std::io::Read as _;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer, on any machine that is of use, also while its disk stands still for some seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition, looking often; a test never waits for time to pass.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Bytes as a content coding packs them.
pub(crate) fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut packed = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzEncoder::new(bytes, level).read_to_end(&mut packed),
        "deflate" => flate2::read::ZlibEncoder::new(bytes, level).read_to_end(&mut packed),
        "zstd" => return zstd::encode_all(bytes, 1).expect("packed"),
        other => panic!("{other} is no coding"),
    };
    read.expect("packed");
    packed
}

/// Bytes that do not compress, and are the same each time.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
