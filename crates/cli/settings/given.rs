//! The settings as a user gives them.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use hubcap_cache::{OnRemoved, Ttl};
use hubcap_oci::{Pattern, RegistryPattern};
use hubcap_proxy::HostName;
use hubcap_store::Limit;
use serde::{Deserialize, Serialize};

use super::units::{Text, switch};
use super::upstream::{Parser, Upstream};
use super::upstream_tables;

/// What can be set by flag, by HUBCAP_ variable and in a file; config/default.toml describes each.
#[derive(Debug, Default, Clone, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// HTTPS address (HUBCAP_LISTEN) (default: 127.0.0.1:5443)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<Text<SocketAddr>>,
    /// Plain HTTP address (HUBCAP_HTTP_LISTEN) (default: off)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http_listen: Option<Text<SocketAddr>>,
    /// A name of this machine that clients use for hubcap, beside its own name and addresses; repeat it for several (HUBCAP_NAME,
    /// separated by commas)
    #[arg(long, value_name = "HOST")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) name: Vec<Text<HostName>>,
    /// HTTPS address on a bridge, for containers: only the bridge's network may use it, and without hubcap's logins; repeat it
    /// for several (HUBCAP_BRIDGE_LISTEN, separated by commas) (default: off; `up` finds dockerd's if buildx is installed)
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bridge_listen: Vec<Text<SocketAddrV4>>,
    /// Address of the HTTP proxy, for clients that cannot use a mirror (HUBCAP_PROXY_LISTEN) (default: off)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) proxy_listen: Option<Text<SocketAddr>>,
    /// Registries that the proxy answers for, whose clients trust the local CA; repeat it for several
    /// (HUBCAP_PROXY_INTERCEPT, separated by commas) (default: all allowed registries)
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) proxy_intercept: Vec<Text<RegistryPattern>>,
    /// Hosts that the proxy tunnels to, beside port 443 of public addresses; repeat it for several
    /// (HUBCAP_PROXY_TUNNEL, separated by commas)
    #[arg(long, value_name = "HOST[:PORT]")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) proxy_tunnel: Vec<Text<RegistryPattern>>,
    /// Directory of the cached images (HUBCAP_STORE) (default: $GITHUB_WORKSPACE/.hubcap in a GitHub job, otherwise
    /// ~/.cache/hubcap)
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Directory of the local CA and its key, never inside the store (HUBCAP_STATE) (default: ~/.local/state/hubcap)
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Read settings from a TOML file (HUBCAP_CONFIG)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// Never connect to a registry (HUBCAP_OFFLINE=true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    #[arg(value_name = "true|false", hide_possible_values = true)]
    pub(crate) offline: Option<bool>,
    /// Take tags only from a lock file, and refuse tags that are not in it (HUBCAP_FROZEN) (default file: hubcap.lock)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "hubcap.lock")]
    pub(crate) frozen: Option<PathBuf>,
    /// Start to download an image's blobs when a client asks for its manifest (HUBCAP_READ_AHEAD) (default: in a GitHub job)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    pub(crate) read_ahead: Option<bool>,
    /// How long a tag is served before it is checked again, for example 30s, 5m, 1h (HUBCAP_TAG_TTL) (default: 5m)
    #[arg(long, value_name = "DURATION")]
    pub(crate) tag_ttl: Option<Text<Ttl>>,
    /// How long a registry may take until the first byte of its answer (HUBCAP_UPSTREAM_TIMEOUT) (default: 5s)
    #[arg(long, value_name = "DURATION")]
    pub(crate) upstream_timeout: Option<Text<Duration>>,
    /// Size limit of the store, for example 5GiB, or 10% of the disk (HUBCAP_MAX_SIZE) (default: no limit)
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Text<Limit>>,
    /// How much of the disk to keep free, for example 1GiB, or 5% (HUBCAP_MIN_FREE) (default: 1GiB)
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free: Option<Text<Limit>>,
    /// Images that are never removed to make room, for example docker.io/library/rust:*; repeat it for several
    /// (HUBCAP_PIN, separated by commas)
    #[arg(long, value_name = "PATTERN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pin: Vec<Text<Pattern>>,
    /// TTLs of the tags that a pattern matches; the first pattern that matches decides.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<TagsTable>,
    /// What becomes of images that their registry no longer has; the first pattern that matches decides.
    #[arg(skip)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) removed: Vec<RemovedTable>,
    /// Allow a registry, or all that match a pattern such as '*.azurecr.io', or set the URL of one; several URLs are asked
    /// in that order; repeat it for several (HUBCAP_UPSTREAM, separated by commas) (default: Docker Hub and other public
    /// registries)
    #[arg(long, value_name = "NAME[=URL[,URL]]", value_parser = Parser)]
    #[serde(with = "upstream_tables")]
    pub(crate) upstream: Vec<Upstream>,
}

/// `[[tags]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagsTable {
    pub(crate) pattern: Text<Pattern>,
    pub(crate) ttl: Text<Ttl>,
}

/// `[[removed]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RemovedTable {
    pub(crate) pattern: Text<Pattern>,
    pub(crate) on_removed: Text<OnRemoved>,
}

impl Settings {
    /// These settings, and for what they leave open those of `other`. Upstreams of both count.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            http_listen: self.http_listen.or(other.http_listen),
            name: first_given(self.name, other.name),
            bridge_listen: first_given(self.bridge_listen, other.bridge_listen),
            proxy_listen: self.proxy_listen.or(other.proxy_listen),
            proxy_intercept: first_given(self.proxy_intercept, other.proxy_intercept),
            proxy_tunnel: first_given(self.proxy_tunnel, other.proxy_tunnel),
            store: self.store.or(other.store),
            state: self.state.or(other.state),
            config: self.config.or(other.config),
            offline: self.offline.or(other.offline),
            frozen: self.frozen.or(other.frozen),
            read_ahead: self.read_ahead.or(other.read_ahead),
            tag_ttl: self.tag_ttl.or(other.tag_ttl),
            upstream_timeout: self.upstream_timeout.or(other.upstream_timeout),
            max_size: self.max_size.or(other.max_size),
            min_free: self.min_free.or(other.min_free),
            pin: first_given(self.pin, other.pin),
            tags: first_given(self.tags, other.tags),
            removed: first_given(self.removed, other.removed),
            upstream: Upstream::layered(other.upstream, self.upstream),
        }
    }
}

fn first_given<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}
