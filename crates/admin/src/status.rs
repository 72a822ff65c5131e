//! `GET /status`: how the daemon is, and what it did.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use hubcap_cache::Snapshot;
use serde::{Deserialize, Serialize};

/// What does not change while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Daemon {
    /// hubcap's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When the run began, in milliseconds since the epoch.
    pub started: u64,
    /// Where it answers over HTTPS.
    pub listen: Option<SocketAddr>,
    /// Where it answers over plain HTTP.
    pub http_listen: Option<SocketAddr>,
    /// Where it answers over HTTPS for the networks of bridges.
    #[serde(default)]
    pub bridges: Vec<SocketAddrV4>,
    /// Where its HTTP proxy is.
    pub proxy_listen: Option<SocketAddr>,
    /// The certificate of its local CA.
    pub ca: PathBuf,
    /// Its store, as an absolute path.
    pub store: PathBuf,
    /// The URLs of each registry that it is configured for, Docker Hub among them.
    pub registries: BTreeMap<String, Vec<String>>,
    /// The patterns of other registries that it may ask.
    pub allowed: Vec<String>,
    /// Its settings, as the text of a settings file, without logins.
    pub settings: String,
    /// Whether it runs with `--offline`.
    pub offline: bool,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The daemon.
    pub daemon: Daemon,
    /// Whether an archive of the store is still being restored.
    pub restoring: bool,
    /// The pack of GitHub's cache that this job began with, if it carries contents there and there was one.
    #[serde(default)]
    pub carried: Option<String>,
    /// Whether it names something that clients have asked for.
    #[serde(default)]
    pub carried_asked: bool,
    /// Why it began with nothing, where GitHub's cache could not be used.
    #[serde(default)]
    pub carry_trouble: Option<String>,
    /// What was counted since the start.
    pub meter: Snapshot,
}
