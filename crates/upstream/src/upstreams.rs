//! The registries that may be asked: the configured ones, and those that a request names and a pattern allows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hubcap_oci::{Registry, RegistryPattern};
use tokio::net::TcpStream;

use crate::address::AddressPolicy;
use crate::built_in;
use crate::config::{Config, OriginConfig, UpstreamConfig};
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::origin::Connecting;
use crate::registry::Upstream;
use crate::transport::Transport;
use crate::tunnel;

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
    /// For whatever is no registry's, and, of all connections together, for the registries' too.
    limit: ConnectionLimit,
}

impl Upstreams {
    /// Takes the configuration. No connection is opened, and no TLS set up, before the first request.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is not `http` or `https` with a host and nothing secret in it, and for a registry
    /// without one or with the same twice.
    pub fn new(config: Config) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(config.timeout));
        let limit = ConnectionLimit::new();
        let connecting = Connecting {
            transport: Arc::clone(&transport),
            policy: AddressPolicy::Any,
            limit: limit.clone(),
        };
        let mut configured = BTreeMap::new();
        for config in config.upstreams {
            let registry = config.registry.clone();
            let upstream = Upstream::new(config, &connecting)?;
            configured.insert(registry, upstream);
        }
        let allowed = built_in::patterns().chain(config.allowed).collect();
        Ok(Self(Arc::new(Inner { configured, allowed, discovered: Mutex::default(), transport, limit })))
    }

    /// The upstream of that name; `None` when the registry is not allowed.
    pub fn get(&self, registry: &Registry) -> Option<Upstream> {
        if let Some(upstream) = self.0.configured.get(registry) {
            return Some(upstream.clone());
        }
        let mut discovered = self.discovered();
        if let Some(upstream) = discovered.get(registry) {
            return Some(upstream.clone());
        }
        let policy = if built_in::is_named(registry) {
            AddressPolicy::Any
        } else if self.0.allowed.iter().any(|pattern| pattern.matches(registry)) {
            AddressPolicy::PublicOnly
        } else {
            return None;
        };
        let url = built_in::default_url(registry)?;
        let origins = vec![OriginConfig { url, credentials: None }];
        let config = UpstreamConfig { registry: registry.clone(), origins, stale_tags: false };
        let Inner { transport, limit, .. } = &*self.0;
        let connecting = Connecting { transport: Arc::clone(transport), policy, limit: limit.clone() };
        let upstream = Upstream::new(config, &connecting).ok()?;
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

    /// Every registry that has a name here: the configured ones and the built-in ones.
    pub fn names(&self) -> impl Iterator<Item = Registry> {
        let built_in = built_in::names().filter(|name| !self.0.configured.contains_key(name));
        self.0.configured.keys().cloned().chain(built_in)
    }

    /// The registries that are configured, or were asked.
    pub fn registries(&self) -> Vec<Registry> {
        self.0.configured.keys().chain(self.discovered().keys()).cloned().collect()
    }

    /// The patterns of further ones.
    pub fn patterns(&self) -> &[RegistryPattern] {
        &self.0.allowed
    }

    /// A connection to any host, for a client's own TLS.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] when the policy is [`AddressPolicy::PublicOnly`] and the name has private addresses only;
    /// [`Error::Unavailable`] when the host cannot be reached.
    pub async fn tunnel(&self, host: &str, port: u16, policy: AddressPolicy) -> Result<TcpStream, Error> {
        tunnel::open(host, port, policy, self.0.transport.timeout()).await
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.0.transport
    }

    /// The limit for an origin that is no registry.
    pub(crate) fn limit(&self) -> ConnectionLimit {
        self.0.limit.for_origin()
    }

    fn discovered(&self) -> MutexGuard<'_, BTreeMap<Registry, Upstream>> {
        self.0.discovered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
