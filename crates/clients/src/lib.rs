//! The clients' own files: a mirror is written into them, and taken out again to the byte.
//!
//! This is a crate of its own because it knows nothing of the daemon, and the daemon nothing of it: what is wired here
//! is a URL and a certificate's path, whoever answers there. In the order of use:
//!
//! - [`mirror`]: where hubcap answers, as a client has to be told.
//! - [`docker`]: dockerd: which one runs, its two files, its reload, and the proof.
//! - [`containerd`], [`buildkit`], [`podman`]: the others' files, and what their users have to know.
//! - [`hosts_toml`]: containerd's format, which dockerd 28 and later read as well.
//! - [`document`]: a TOML file with what its user has written.
//! - [`change`]: a file before and after, and the difference for people.
//! - [`journal`]: changes made and taken back, with a journal that outlives a crash.
//! - [`file`]: reading and replacing files, as root where that is needed.

pub mod buildkit;
pub mod change;
pub mod containerd;
pub mod docker;
mod document;
mod file;
pub mod hosts_toml;
pub mod journal;
pub mod mirror;
pub mod podman;

use std::path::PathBuf;

pub use buildkit::Buildkit;
pub use change::{Change, Planned};
pub use containerd::{Containerd, ContainerdAt, Cri};
pub use docker::{Docker, DockerAt, Proxy};
pub use hosts_toml::Registries;
pub use journal::{Client, Journal};
pub use mirror::{Mirror, reachable};
pub use podman::{Podman, PodmanAt};

/// Why a client could not be wired. Its files are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file needs root's rights, and there is no way to them.
    #[error("{} needs root's rights: {why}; run this as root, or allow sudo without a password", path.display())]
    Rights {
        /// The file.
        path: PathBuf,
        /// What was tried.
        why: String,
    },
    /// A file is not what its client takes.
    #[error("{} is left as it is: {why}", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// The client did not do what it was told.
    #[error("{0}")]
    Client(String),
}
