//! What the meter counted, as plain data: it is read as it is by metrics, pages and hubcap's own commands.

use std::collections::{BTreeMap, BTreeSet};

use hubcap_oci::Digest;
use hubcap_upstream::{OriginState, RateLimit};
use serde::{Deserialize, Serialize};

/// Everything that was counted since the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// By `registry/repository`, each repository that was asked for.
    pub repositories: BTreeMap<String, RepositoryStats>,
    /// By name, each registry that is configured or was asked.
    pub registries: BTreeMap<String, RegistryStats>,
    /// What `--frozen` has refused and found out; empty without it.
    pub tag_lock: TagLockReport,
    /// By the image's whole name, what was served although its registry no longer has it.
    #[serde(default)]
    pub removed: BTreeMap<String, RemovedImage>,
}

/// What clients asked of one repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RepositoryStats {
    /// Tags that were asked for, in their order; at most 20.
    pub tags: BTreeSet<String>,
    /// Answers from the store.
    pub hits: u64,
    /// Answers that an upstream was needed for.
    pub misses: u64,
    /// Answers from the store because the upstream could not be asked.
    pub stale: u64,
    /// Requests that could not be answered.
    pub failed: u64,
    /// Bytes of contents that went to clients.
    pub served: u64,
    /// Bytes of the largest content that went to a client.
    pub largest: u64,
    /// Bytes of contents that came from the upstream, asked for by a client or read ahead.
    pub fetched: u64,
    /// Bytes of contents that came from the job's cache.
    #[serde(default)]
    pub cached: u64,
    /// How long at least one client was being answered, in milliseconds.
    pub answering_ms: u64,
}

impl RepositoryStats {
    /// Bytes that clients got and no upstream had to send.
    pub fn saved(&self) -> u64 {
        self.served.saturating_sub(self.fetched)
    }
}

/// What one registry sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryStats {
    /// How long at least one blob was being fetched, in milliseconds.
    pub fetching_ms: u64,
    /// Bytes of blobs.
    pub fetched: u64,
    /// Of these, the bytes of transfers that tell how fast the registry is.
    #[serde(default)]
    pub sampled: u64,
    /// Bytes a second of the fastest single connections; zero while they brought less than 20 MB.
    pub single_connection_rate: f64,
    /// Bytes a second of all connections of these transfers together, to the job's cache too.
    #[serde(default)]
    pub line_rate: f64,
    /// The registry's rate limit, as it last reported it.
    pub rate_limit: Option<RateLimit>,
    /// How each of its origins is, in their order.
    pub origins: Vec<OriginState>,
}

/// An image that its registry no longer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovedImage {
    /// Answers with what is stored of it.
    pub served: u64,
    /// When the registry last had it, in seconds since the epoch; `None` where that is not known.
    pub confirmed: Option<u64>,
}

/// What a tag lock has refused and found out so far, by the images' whole names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TagLockReport {
    /// Tags that were asked for and are not in the lock, and how often.
    pub refused: BTreeMap<String, u64>,
    /// How often others were asked for that are not in the lock, beyond the first 500 of them.
    #[serde(default)]
    pub others_refused: u64,
    /// Tags that mean something else upstream by now, and what.
    pub moved: BTreeMap<String, Digest>,
}
