//! What several commands print in one way.

pub(crate) mod changes;
pub(crate) mod progress;
pub(crate) mod removals;
pub(crate) mod strangers;
pub(crate) mod transfers;
pub(crate) mod unpacking;
