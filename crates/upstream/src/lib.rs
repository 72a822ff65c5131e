//! The network: registries that hubcap may pull from. Nothing else opens outbound connections.
//!
//! In the order of a request:
//!
//! - [`registry`]: the pull side of the distribution specification, as a client.
//! - [`auth`]: challenge to token (distribution's token specification), cached.
//! - [`credentials`]: what the operator gave, or Docker's own configuration file and helpers.
//! - [`transport`]: one request, its time limits, and the rules for redirects.
//! - [`circuit`]: an upstream that fails is left alone for a while.
//! - [`ratelimit`]: what the upstream says of its limit.
//! - [`error`]: what an answer means for whoever asked.

mod auth;
mod body;
mod circuit;
mod credentials;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod link;
mod ratelimit;
pub mod registry;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hubcap_oci::Registry;
use url::Url;

pub use body::BlobBody;
pub use credentials::{Credentials, Secret};
pub use error::Error;
pub use ratelimit::RateLimit;
pub use registry::{ManifestBody, ManifestHead, TagList, Upstream};

use transport::Transport;

/// Every registry that may be asked, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The registries.
    pub upstreams: Vec<UpstreamConfig>,
    /// From the request to the headers of its answer, connecting included.
    pub timeout: Duration,
}

/// One registry.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its name in image references.
    pub registry: Registry,
    /// Where its API is: `https://registry-1.docker.io`. `http` is taken too.
    pub url: Url,
    /// A login; without one, Docker's configuration file is asked.
    pub credentials: Option<Credentials>,
}

/// The registries that may be asked; a clone is another handle of the same ones.
#[derive(Debug, Clone)]
pub struct Upstreams(Arc<BTreeMap<Registry, Upstream>>);

impl Upstreams {
    /// Takes the configuration. No connection is opened, and no TLS set up, before the first request.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is not `http` or `https` with a host and nothing secret in it.
    pub fn new(config: Config) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(config.timeout));
        let upstream = |config: UpstreamConfig| {
            let registry = config.registry.clone();
            Ok((registry, Upstream::new(config, Arc::clone(&transport))?))
        };
        Ok(Self(Arc::new(config.upstreams.into_iter().map(upstream).collect::<Result<_, Error>>()?)))
    }

    /// The upstream of that name.
    pub fn get(&self, registry: &Registry) -> Option<Upstream> {
        self.0.get(registry).cloned()
    }

    /// Makes what the first request needs and takes its time for, some 40 ms of it for the system's roots. Blocks.
    pub fn prepare(&self) {
        for upstream in self.0.values() {
            upstream.prepare();
        }
    }

    /// All names.
    pub fn registries(&self) -> impl Iterator<Item = &Registry> {
        self.0.keys()
    }
}
