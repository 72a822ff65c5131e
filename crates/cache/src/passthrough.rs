//! What is not a pull: it goes to the registry, or to whatever host a client names, as it is.

use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hubcap_oci::{Reference, Registry, RegistryPattern, Target};
use hubcap_upstream::AddressPolicy;
use tokio::net::TcpStream;

use crate::cache::Cache;
use crate::error::Error;

/// The addresses that a tunnel may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelAddresses {
    /// Whatever the host's name stands for: the operator has named the host.
    Any,
    /// Addresses of the Internet only: a client has chosen the host.
    PublicOnly,
}

impl Cache {
    /// The registries that are configured by name or built in.
    pub fn names(&self) -> Vec<Registry> {
        self.0.upstreams.names().collect()
    }

    /// The patterns of the other registries that hubcap may ask.
    pub fn patterns(&self) -> &[RegistryPattern] {
        self.0.upstreams.patterns()
    }

    /// Sends a client's request to the registry as it is, with the client's own login, and gives its answer as it is.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Offline`] with `--offline`.
    pub async fn pass<B>(
        &self,
        registry: &Registry,
        request: Request<B>,
    ) -> Result<
        Response<impl Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + use<B>>,
        Error,
    >
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        self.check_online()?;
        let upstream = self.0.upstreams.get(registry);
        let upstream = upstream.ok_or_else(|| Error::UnknownRegistry(registry.clone()))?;
        Ok(upstream.pass(request).await?)
    }

    /// Opens a connection to any host, for a client's own TLS.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for a host without an allowed address; [`Error::Unavailable`],
    /// [`Error::Offline`].
    pub async fn tunnel(
        &self,
        host: &str,
        port: u16,
        addresses: TunnelAddresses,
    ) -> Result<TcpStream, Error> {
        self.check_online()?;
        let policy = match addresses {
            TunnelAddresses::Any => AddressPolicy::Any,
            TunnelAddresses::PublicOnly => AddressPolicy::PublicOnly,
        };
        Ok(self.0.upstreams.tunnel(host, port, policy).await?)
    }

    /// Notes that a client has begun, or goes on, to push to this repository.
    pub fn pushing(&self, target: &Target) {
        self.0.pushes.note(target, Instant::now());
    }

    /// Whether a client pushes to this repository: then clients must see what the registry has, not what the store has.
    pub fn is_pushed_to(&self, target: &Target) -> bool {
        self.0.pushes.is_pushed_to(target, Instant::now())
    }

    /// Whether a lock says what tags mean, whoever pushes.
    pub fn is_frozen(&self) -> bool {
        self.0.tag_lock.is_some()
    }

    /// Notes that the registry has taken a manifest, or removed one: what the cache knows of the tag, and of what refers to what,
    /// is older.
    pub fn pushed(&self, target: &Target, reference: &Reference) {
        self.0.negative.forget(target);
        // Whatever its name, it may refer to another one.
        self.store().expire_referrers(target);
        if let Reference::Tag(tag) = reference {
            self.store().expire_tag(target, tag);
        }
    }
}
