//! What the clients of one fill ask of the registry beside it, and how much that may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Beside one fill, at most this part of the blob is asked for.
const SHARE: u64 = 4;

/// How many bytes were asked for beside one fill, by all its clients together; a clone counts the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicU64>);

impl Asked {
    /// Counts `bytes` more of a blob of `size` bytes; false when that would be more than its share.
    pub(crate) fn add(&self, bytes: u64, size: u64) -> bool {
        let add = |asked: u64| asked.checked_add(bytes).filter(|asked| *asked <= size / SHARE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_quarter_of_the_blob_is_asked_for() {
        let asked = Asked::default();
        assert!(asked.add(20, 100));
        assert!(!asked.clone().add(6, 100), "26 of 100");
        assert!(asked.add(5, 100), "what was refused does not count");
        assert!(!asked.add(1, 100) && !asked.add(u64::MAX, 100));
    }
}
