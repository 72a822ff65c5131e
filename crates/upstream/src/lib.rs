//! The network: registries that hubcap may pull from. Nothing else opens outbound connections.
//!
//! In the order of a request:
//!
//! - [`built_in`]: the registries that need no configuration.
//! - [`registry`]: the pull side of the distribution specification, as a client.
//! - [`auth`]: challenge to token (distribution's token specification), cached.
//! - [`credentials`]: what the operator gave, or Docker's own configuration file and helpers.
//! - [`transport`], [`address`]: one request, its time limits, and the address policy for it and its redirects.
//! - [`plain`]: the client for plain HTTP.
//! - [`archive`]: a store that an earlier job has saved.
//! - [`passthrough`], [`tunnel`]: what a client says to a registry, or to anybody, untouched.
//! - [`circuit`]: a circuit breaker, which is open while an upstream fails.
//! - [`ratelimit`]: what the upstream says of its limit.
//! - [`error`]: what an answer means for whoever asked.

mod address;
mod archive;
mod auth;
mod body;
mod built_in;
mod circuit;
mod credentials;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod link;
pub mod passthrough;
mod plain;
mod ratelimit;
pub mod registry;
mod transport;
mod tunnel;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hubcap_oci::{Registry, RegistryPattern};
use tokio::net::TcpStream;
use url::Url;

pub use address::AddressPolicy;
pub use body::BlobBody;
pub use credentials::{Credentials, Secret};
pub use error::Error;
pub use ratelimit::RateLimit;
pub use registry::{ManifestBody, ManifestHead, TagList, Upstream};
pub use reqwest::Body as PassedBody;

use transport::Transport;

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
    /// Where its API is: `https://registry-1.docker.io`. `http` is taken too.
    pub url: Url,
    /// A login; without one, Docker's configuration file is asked.
    pub credentials: Option<Credentials>,
}

/// How many discovered registries are remembered: those that no configuration names and that were asked. Beyond, all
/// are forgotten.
const MAX_DISCOVERED: usize = 256;

/// The registries that may be asked; a clone is another handle of the same ones.
#[derive(Debug, Clone)]
pub struct Upstreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    configured: BTreeMap<Registry, Upstream>,
    allowed: Vec<RegistryPattern>,
    discovered: Mutex<BTreeMap<Registry, Upstream>>,
    transport: Arc<Transport>,
}

impl Upstreams {
    /// Takes the configuration. No connection is opened, and no TLS set up, before the first request.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is not `http` or `https` with a host and nothing secret in it.
    pub fn new(config: Config) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(config.timeout));
        let upstream = |config: UpstreamConfig| {
            let registry = config.registry.clone();
            Ok((registry, Upstream::new(config, Arc::clone(&transport), AddressPolicy::Any)?))
        };
        let configured = config.upstreams.into_iter().map(upstream).collect::<Result<_, Error>>()?;
        let allowed = built_in::patterns().chain(config.allowed).collect();
        Ok(Self(Arc::new(Inner { configured, allowed, discovered: Mutex::default(), transport })))
    }

    /// The upstream of that name; `None` when nobody has allowed it.
    pub fn get(&self, registry: &Registry) -> Option<Upstream> {
        let Inner { configured, allowed, discovered, transport } = &*self.0;
        if let Some(upstream) = configured.get(registry) {
            return Some(upstream.clone());
        }
        let mut discovered = discovered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upstream) = discovered.get(registry) {
            return Some(upstream.clone());
        }
        let policy = if built_in::is_named(registry) {
            AddressPolicy::Any
        } else if allowed.iter().any(|pattern| pattern.matches(registry)) {
            AddressPolicy::PublicOnly
        } else {
            return None;
        };
        let config =
            UpstreamConfig { registry: registry.clone(), url: default_url(registry)?, credentials: None };
        let upstream = Upstream::new(config, Arc::clone(transport), policy).ok()?;
        if discovered.len() >= MAX_DISCOVERED {
            discovered.clear();
        }
        discovered.insert(registry.clone(), upstream.clone());
        Some(upstream)
    }

    /// Makes what the first request needs and takes its time for, some 40 ms of it for the system's roots. Blocks.
    pub fn prepare(&self) {
        for upstream in self.0.configured.values() {
            upstream.prepare();
        }
    }

    /// Every registry that has a name here: the configured ones and those that need no configuration.
    pub fn names(&self) -> impl Iterator<Item = Registry> {
        let known = built_in::names().filter(|name| !self.0.configured.contains_key(name));
        self.0.configured.keys().cloned().chain(known)
    }

    /// Those that are configured, or were asked.
    pub fn registries(&self) -> Vec<Registry> {
        let discovered = self.0.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.configured.keys().chain(discovered.keys()).cloned().collect()
    }

    /// The patterns of further ones.
    pub fn patterns(&self) -> &[RegistryPattern] {
        &self.0.allowed
    }

    /// A connection to anybody, for a client's own TLS.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for a name that leads only to private addresses, where `policy` is the Internet;
    /// [`Error::Unavailable`] for one that cannot be reached.
    pub async fn tunnel(&self, to: (&str, u16), policy: AddressPolicy) -> Result<TcpStream, Error> {
        tunnel::open(to, policy, self.0.transport.timeout()).await
    }
}

/// Whether a registry needs no configuration.
pub fn is_built_in(registry: &Registry) -> bool {
    built_in::is_named(registry) || built_in::patterns().any(|pattern| pattern.matches(registry))
}

/// Where a registry is that is at its own name; for Docker Hub, its API's.
pub fn default_url(registry: &Registry) -> Option<Url> {
    let (_, port) = registry.host_and_port();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Url::parse(&format!("https://{}{port}", registry.api_host())).ok()
}
