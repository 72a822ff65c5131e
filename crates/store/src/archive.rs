//! Images and stores as files.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod restore;
