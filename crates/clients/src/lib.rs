//! The clients' own files: a mirror is written into them, and taken out again to the byte.
//!
//! This is a crate of its own because it knows nothing of the daemon, and the daemon nothing of it: a client is configured
//! with a URL and a CA's certificate, whoever answers there. In the order of use:
//!
//! - [`mirror`]: where hubcap answers, and for what. [`authority`]: its CA's certificate.
//! - [`mod@all`]: every client, a line for each.
//! - [`client`]: what hubcap has to know of a client, as a trait.
//! - [`docker`], [`containerd`], [`buildkit`], [`podman`]: the clients, each with `find` (which of it is here),
//!   `facts` (what each version reads) and `files` (which files are written with what).
//! - [`cluster`]: the nodes of clusters that are containers: kind, k3d and minikube.
//! - [`version`], [`coverage`]: what follows from a client's version, and which of its pulls use the mirror.
//! - [`certs_dir`], [`mod@format`]: directories and texts that several clients have.
//! - [`change`]: a file before and after, and the difference for people. [`another`]: what is another hubcap's.
//! - [`journal`], [`file_kind`]: what was changed, with which the files are restored, even after a crash.
//! - [`mod@file`], [`encoding`], [`paths`], [`process`], [`peer`], [`piped`], [`sudo`]: reading and replacing files, and
//!   reaching daemons, as root where needed. [`restart`], [`spawned`]: a daemon is restarted by whoever looks after it.

mod all;
mod another;
mod authority;
pub mod buildkit;
mod certs_dir;
mod change;
mod client;
mod cluster;
pub mod containerd;
mod coverage;
pub mod docker;
mod encoding;
mod error;
mod file;
mod file_kind;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod journal;
mod mirror;
mod paths;
mod peer;
mod piped;
mod podman;
mod process;
mod restart;
mod spawned;
mod sudo;
mod version;

pub use all::{all, named};
pub use another::Another;
pub use authority::Authority;
pub use buildkit::Buildkit;
pub use change::{Change, Plan, Planned};
pub use client::Client;
pub use cluster::{Cluster, InNode, Node, NodePlan, Nodes};
pub use containerd::{Containerd, DifferService, Unpacker};
pub use coverage::Coverage;
pub use docker::{Docker, Dockerd, InSight, Inflater, Proxy, Pulled, Unpacking};
pub use error::Error;
pub use file::{own, read_text};
pub use file_kind::FileKind;
pub use format::containerd_toml::{DIFFER_SOCKET, Lasting};
pub use journal::{Applied, FileState, Journal};
pub use mirror::{Mirror, Registries, reachable};
pub use peer::{Until, connect};
pub use podman::Podman;
pub use process::{docker_config, is_installed, is_running};
pub use restart::Restart;
pub use sudo::{command as as_root, mistrusts, trusts};
pub use version::{Fact, Version};
