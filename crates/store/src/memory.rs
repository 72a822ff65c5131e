//! The memory budget: a bound on the bytes that all ingests together keep in memory after they are written.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What may be kept at a time, in bytes. Beyond it a piece is read again from its file, which costs a copy, so that
/// memory stays flat however many contents are written at once.
const BUDGET: u64 = 4 << 20;
static IN_USE: AtomicU64 = AtomicU64::new(0);

/// Bytes that count against the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct Budgeted(Bytes);

impl Budgeted {
    /// Keeps `bytes`; `None` when the budget is used up.
    pub(crate) fn take(bytes: &Bytes) -> Option<Self> {
        let in_use = IN_USE.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Construct first: where there is no room, `Drop` subtracts what `fetch_add` added.
        let this = Self(bytes.clone());
        (in_use < BUDGET).then_some(this)
    }

    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Drop for Budgeted {
    fn drop(&mut self) {
        IN_USE.fetch_sub(self.0.len() as u64, Ordering::Relaxed);
    }
}
