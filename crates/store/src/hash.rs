//! Hashing what is in a file.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use hubcap_oci::Verifier;

/// Bytes that are read at once.
const CHUNK: u64 = 256 << 10;

/// Shows `verifier` the bytes of `range`, and returns the position where they end: the range's end, or the file's where the
/// file is shorter. `progress` is called with the position after each piece.
pub(crate) fn hash_range(
    file: &File,
    range: Range<u64>,
    verifier: &mut Verifier,
    mut progress: impl FnMut(u64),
) -> std::io::Result<u64> {
    let Range { start: mut position, end } = range;
    // At most a chunk, so the casts cannot cut.
    let mut buffer = vec![0; end.saturating_sub(position).min(CHUNK) as usize];
    while position < end {
        let wanted = (end - position).min(CHUNK) as usize;
        match file.read_at(&mut buffer[..wanted], position) {
            Ok(0) => break,
            Ok(length) => {
                verifier.update(&buffer[..length]);
                position += length as u64;
                progress(position);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Digest};

    use super::*;

    #[test]
    fn a_range_is_hashed_up_to_its_end_or_that_of_the_file() {
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&bytes, 0).expect("written");
        for (range, end) in [(0..u64::MAX, bytes.len()), (5..700_000, 700_000), (7..7, 7)] {
            let mut verifier = Verifier::new(Algorithm::Sha256);
            let start = range.start as usize;
            let mut seen = range.start;
            let ended = hash_range(&file, range, &mut verifier, |position| seen = position).expect("read");
            assert_eq!((ended, seen), (end as u64, end as u64));
            assert_eq!(verifier.finish(), Digest::of(Algorithm::Sha256, &bytes[start..end]));
        }
    }
}
