//! The parser of `index.json`, for `fuzz/` alone.

use crate::layout::image_index::ImageIndex;

/// Reads and writes an `index.json`; every entry that is understood survives both.
///
/// # Panics
/// When one does not: that is what is looked for.
pub fn image_index(bytes: &[u8]) {
    let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes) else { return };
    let mut again = ImageIndex::default();
    for entry in index.entries() {
        again.put_entry(&entry);
        let found =
            again.entries().any(|one| one.name() == entry.name() && one.descriptor == entry.descriptor);
        assert!(found, "{entry:?}");
        let everything: Vec<_> = again.entries().collect();
        let all: Vec<_> = everything.iter().collect();
        let mut emptied = again.clone();
        emptied.remove(&all);
        assert_eq!(emptied.entries().count(), 0);
    }
}
