//! What an operator says of the registries.

use std::time::Duration;

use hubcap_oci::{Registry, RegistryPattern};
use url::Url;

use crate::credentials::Credentials;

/// Every registry that may be asked, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The registries.
    pub upstreams: Vec<UpstreamConfig>,
    /// Further ones that may be asked at their own name, over HTTPS and at public addresses.
    pub allowed: Vec<RegistryPattern>,
    /// From the request to the headers of its answer, connecting included.
    pub timeout: Duration,
}

/// One registry.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its name in image references.
    pub registry: Registry,
    /// Where its contents are. The first decides: what a tag means, and who may have what. The others have the same bytes.
    pub origins: Vec<OriginConfig>,
    /// Whether the other origins may say what a tag means while the first is away. It may be older.
    pub stale_tags: bool,
}

/// One place that has a registry's contents.
#[derive(Debug, Clone)]
pub struct OriginConfig {
    /// Where its API is: `https://registry-1.docker.io`. `http` is taken too. The path of a mirror below a prefix is told with
    /// `/v2` in it, as in `https://harbor.example/v2/hub`; any other path comes before `/v2`.
    pub url: Url,
    /// A login; without one, Docker's configuration file is asked.
    pub credentials: Option<Credentials>,
}
