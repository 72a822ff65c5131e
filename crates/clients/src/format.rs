//! The texts of clients' files, and how hubcap's part is put into them and taken out. Nothing here reads or writes a file.
//!
//! - [`daemon_json`]: dockerd's `daemon.json`.
//! - [`hosts_toml`]: containerd's format, which dockerd 28 and later reads as well.
//! - [`buildkitd_toml`]: BuildKit's own builders.
//! - [`containerd_toml`]: containerd's configuration.
//! - [`registries_conf`]: podman, buildah and skopeo.
//! - [`toml`]: a TOML file with what its user has written.
//! - [`header`]: the line by which hubcap knows its own text.

pub(crate) mod buildkitd_toml;
pub(crate) mod containerd_toml;
pub(crate) mod daemon_json;
mod header;
pub(crate) mod hosts_toml;
pub(crate) mod registries_conf;
pub(crate) mod toml;

pub(crate) use header::{HEADER, is_ours};
