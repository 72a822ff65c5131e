//! The reader of archives, for `fuzz/` alone.

use crate::tar::Archive;

/// Reads an archive to its end or its first error.
///
/// # Panics
/// When a file with holes has data outside its size: that is what is looked for, beside panics and endless loops.
pub fn archive(bytes: &[u8]) {
    let mut archive = Archive::new(bytes);
    while let Ok(Some(entry)) = archive.next() {
        if let Some(sparse) = &entry.sparse {
            let mut end = 0;
            for region in &sparse.regions {
                assert!(region.offset >= end, "{entry:?}");
                end = region.offset + region.length;
            }
            assert!(end <= sparse.size, "{entry:?}");
        }
        // Half of each entry's data, so that the other half has to be skipped.
        let length = archive.data().map_or(0, |data| data.len() / 2);
        archive.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::{prop_oneof, proptest};

    use super::archive;

    /// A header block whose checksum is right, with other fields by chance.
    fn header(flag: u8, size: u64, noise: &[(usize, u8)]) -> [u8; 512] {
        let mut block = [0; 512];
        block[..4].copy_from_slice(b"name");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[156] = flag;
        for &(at, byte) in noise {
            block[at % 512] = byte;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    fn record(text: &str) -> Vec<u8> {
        let rest = text.len() + 2;
        let digits = if rest + 2 < 100 { 2 } else { 3 };
        format!("{} {text}\n", rest + digits).into_bytes()
    }

    proptest! {
        #[test]
        fn any_archive_is_read_to_its_end(
            entries in vec((
                prop_oneof!["[0-7xgLKS]", "\\PC"],
                vec((0..512_usize, any::<u8>()), 0..4),
                vec("(GNU\\.sparse\\.(major|minor|map|numblocks|offset|numbytes|size|realsize|name)|path|size|mtime|uid)=[0-9.,-]{0,6}", 0..5),
                vec(any::<u8>(), 0..700),
            ), 0..6),
            cut in any::<u16>(),
        ) {
            let mut bytes = Vec::new();
            for (flag, noise, records, data) in &entries {
                let data = if records.is_empty() { data.clone() } else { records.iter().flat_map(|text| record(text)).collect() };
                bytes.extend(header(flag.as_bytes()[0], data.len() as u64, noise));
                bytes.extend(&data);
                bytes.resize(bytes.len().next_multiple_of(512), 0);
            }
            let length = bytes.len().saturating_sub(usize::from(cut % 600));
            archive(&bytes[..length]);
            archive(&bytes);
        }
    }
}
