//! What is no pull: it goes to the registry, or to whoever else a client means, as it is.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hubcap_oci::{Reference, Registry, RegistryPattern, Target};
use hubcap_upstream::{AddressPolicy, PassedBody};
use tokio::net::TcpStream;

use crate::cache::Cache;
use crate::error::Error;
use crate::lock::lock;

/// So long after a client's last step of a push its looks at manifests are not answered from the store.
const PUSHING: Duration = Duration::from_secs(300);
/// Pushes that are remembered at most; beyond, the old ones go.
const MAX_PUSHES: usize = 1024;

/// Repositories that are being pushed to, through us.
#[derive(Default)]
pub(crate) struct Pushes(Mutex<HashMap<Target, Instant>>);

impl Cache {
    /// Every registry that has a name here.
    pub fn names(&self) -> Vec<Registry> {
        self.0.upstreams.names().collect()
    }

    /// The patterns of further ones that may be asked.
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
    ) -> Result<Response<PassedBody>, Error>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if self.config().offline {
            return Err(Error::Offline);
        }
        let upstream = self.0.upstreams.get(registry);
        let upstream = upstream.ok_or_else(|| Error::UnknownRegistry(registry.clone()))?;
        Ok(upstream.pass(request).await?)
    }

    /// A connection to anybody, for a client's own TLS.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for what leads to a private address and must not; [`Error::Unavailable`],
    /// [`Error::Offline`].
    pub async fn tunnel(&self, to: (&str, u16), policy: AddressPolicy) -> Result<TcpStream, Error> {
        if self.config().offline {
            return Err(Error::Offline);
        }
        Ok(self.0.upstreams.tunnel(to, policy).await?)
    }

    /// A client has begun, or goes on, to push to this repository.
    pub fn pushing(&self, target: &Target) {
        let mut pushes = lock(&self.0.pushes.0);
        if pushes.len() >= MAX_PUSHES {
            pushes.retain(|_, at| at.elapsed() < PUSHING);
        }
        if pushes.len() < MAX_PUSHES {
            pushes.insert(target.clone(), Instant::now());
        }
    }

    /// Whether a client pushes to it: then it must see what the registry has, not what the store has.
    pub fn is_pushed_to(&self, target: &Target) -> bool {
        lock(&self.0.pushes.0).get(target).is_some_and(|at| at.elapsed() < PUSHING)
    }

    /// The registry has taken a manifest, or removed one: what is known of the tag is older than that.
    pub fn pushed(&self, target: &Target, reference: &Reference) {
        self.0.negative.forget(target);
        if let Reference::Tag(tag) = reference {
            self.store().expire_tag(target, tag);
        }
    }
}
