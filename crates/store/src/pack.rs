//! A store in a cache service. A large content is an entry of its own there; all smaller ones are in packs. A pack begins with
//! the directory of all that the service has for the jobs that share it, so one read from the newest pack tells what there is.
//!
//! ```text
//! "hubcap pack 1\n\0\0"      16 bytes
//! length of the directory    8 bytes, big-endian
//! length of the head         8 bytes, big-endian
//! directory                  JSON
//! head                       contents that every job needs to answer: manifests, and what is small
//! rest                       other contents below 32 MiB, each read by range when it is asked for
//! ```
//!
//! Entries of such a service never change. So a pack has only what older packs do not have, and its directory names those.
//! Nothing that a registry gives only to a login is in a pack, and neither is its name.

pub(crate) mod directory;
pub(crate) mod read;
#[cfg(test)]
mod tests;
pub(crate) mod write;

/// A content of so many bytes or more is an entry of its own. Each entry costs a look-up and, once, one of the service's few
/// creations; below, the bytes cost less than that.
pub const LARGE: u64 = 32 << 20;

/// What a pack begins with.
const MAGIC: &[u8; 16] = b"hubcap pack 1\n\0\0";
/// The length of what stands before the directory, in bytes.
const PREFIX: u64 = 32;
/// The longest directory, and the longest head, in bytes: some ten thousand images.
const MAX_LENGTH: u64 = 64 << 20;
