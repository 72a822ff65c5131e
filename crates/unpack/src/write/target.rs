//! Where a layer goes.

use std::path::PathBuf;

/// Where a layer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The directory that gets the files.
    pub directory: PathBuf,
    /// What a layer's whiteouts become there.
    pub whiteouts: Whiteouts,
    /// Whether devices are made. A user namespace cannot make them, and containerd leaves them out there.
    pub devices: bool,
    /// Whether the file system is synchronized at the end.
    pub sync: bool,
}

/// What a layer's whiteouts become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whiteouts {
    /// They remove what the directory has.
    Remove,
    /// The directory is an upper directory of overlayfs: devices 0/0, and `trusted.overlay.opaque`.
    Overlay {
        /// The directories below it, the nearest first. A directory that the layer does not have itself gets the metadata that
        /// it has there.
        lower: Vec<PathBuf>,
    },
}
