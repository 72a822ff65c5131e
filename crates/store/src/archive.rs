//! Images and stores as files.

pub mod export;
pub(crate) mod import;
pub(crate) mod restore;
