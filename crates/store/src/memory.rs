//! A bound on what all ingests together hold in memory beyond the moment.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What may be held at a time, in bytes. Beyond it a piece is read again from its file, which costs a copy, so that
/// memory stays flat however many contents come at once.
const IN_MEMORY: u64 = 4 << 20;
static HELD: AtomicU64 = AtomicU64::new(0);

/// Bytes that count as held while this lives.
#[derive(Debug)]
pub(crate) struct Held(Bytes);

impl Held {
    /// Nothing when enough is held already.
    pub(crate) fn hold(bytes: &Bytes) -> Option<Self> {
        let held = HELD.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Made before it is looked at, so that it is given back either way.
        let this = Self(bytes.clone());
        (held < IN_MEMORY).then_some(this)
    }

    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0.len() as u64, Ordering::Relaxed);
    }
}
