//! Layers: a tar stream is applied to a directory, as containerd and overlayfs want it.
//!
//! The result is the tree that containerd's own differ makes of the same layer, and the same DiffID. A layer is a stranger's,
//! and it is written as root: every path is resolved here and opened by `openat2` within the target directory.
//!
//! In the order of a layer's way:
//!
//! - [`mod@apply`]: the threads that inflate, hash and write; [`apply()`] is the way in.
//! - [`inflate`]: gzip, zstd or plain; decided before anything is written.
//! - [`chunks`]: buffers that go from thread to thread, and come back.
//! - [`tar`]: entries and their data, as Go's `archive/tar` reads them.
//! - [`write`]: the rules of a layer: entries, whiteouts, parents, metadata.
//! - [`tree`]: the target directory: resolving, opening and removing, never outside.
//! - [`name`]: paths as archives have them.

mod apply;
mod chunks;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod inflate;
mod name;
mod tar;
mod tree;
mod write;

pub use apply::{Applied, Layer, Packing, apply};
pub use error::Error;
pub use write::target::{Target, Whiteouts};
