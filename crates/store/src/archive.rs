//! Images and stores as files.

pub(crate) mod export;
mod headers;
pub(crate) mod import;
pub(crate) mod restore;
