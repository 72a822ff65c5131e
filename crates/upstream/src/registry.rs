//! A registry as its client: the pull side of the distribution specification, a file for each endpoint.

mod authorized;
mod blobs;
mod manifests;
mod referrers;
mod tags;

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method};
use hubcap_oci::{Endpoint, Registry, Repository};
use reqwest::Response;
use url::Url;

use crate::address::AddressPolicy;
use crate::auth::{Auth, Who};
use crate::circuit::Circuit;
use crate::config::UpstreamConfig;
use crate::credentials::Secret;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::ratelimit::RateLimit;
use crate::request::Request;
use crate::transport::Transport;

pub use blobs::RegistryBlob;
pub use manifests::ManifestBody;
pub use tags::TagList;

/// The longest page of tags or referrers, in bytes.
const MAX_LIST: usize = 4 << 20;

/// A registry that hubcap may pull from; a clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
    who: Who,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    url: Url,
    policy: AddressPolicy,
    transport: Arc<Transport>,
    auth: Auth,
    circuit: Circuit,
    limit: ConnectionLimit,
    rate_limit: Mutex<Option<RateLimit>>,
}

impl Upstream {
    pub(crate) fn new(
        config: UpstreamConfig,
        transport: Arc<Transport>,
        policy: AddressPolicy,
        limit: ConnectionLimit,
    ) -> Result<Self, Error> {
        let UpstreamConfig { registry, mut url, credentials } = config;
        let bad = |why: &str| Error::Config { why: format!("the address of upstream {registry} {why}") };
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not contain a login; use username and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("must not have a query or a fragment"));
        }
        // So that the endpoints' paths can be put behind it.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let auth = Auth::new(url.clone(), credentials);
        let inner = Inner {
            registry,
            url,
            policy,
            transport,
            auth,
            circuit: Circuit::default(),
            limit,
            rate_limit: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), who: Who::Own })
    }

    /// The same registry, asked with a client's own Authorization instead of hubcap's.
    pub fn for_client(&self, authorization: Secret) -> Self {
        Self { inner: Arc::clone(&self.inner), who: Who::Client(authorization) }
    }

    /// The same registry, asked without any login.
    pub fn for_anybody(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), who: Who::Anonymous }
    }

    /// Where its API is.
    pub(crate) fn base(&self) -> &Url {
        &self.inner.url
    }

    /// The client for requests that are passed through.
    pub(crate) fn client(&self) -> Result<&reqwest::Client, Error> {
        self.inner.transport.client(&self.inner.url, self.inner.policy)
    }

    fn limit(&self) -> &ConnectionLimit {
        &self.inner.limit
    }

    /// The registry's name.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    pub(crate) fn prepare(&self) {
        self.inner.transport.prepare(&self.inner.url, self.inner.policy);
    }

    /// Whether this handle may get more than a client without a login.
    pub async fn is_privileged(&self) -> bool {
        match &self.who {
            Who::Own => self.inner.auth.has_login().await,
            Who::Anonymous => false,
            Who::Client(_) => true,
        }
    }

    /// The rate limit, from the last answer that had one.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        *self.inner.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, endpoint: &Endpoint) -> Result<Url, Error> {
        let base = self.inner.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{}", endpoint.path())).map_err(|error| Error::invalid(error.to_string()))
    }

    fn request(&self, method: Method, url: Url, headers: HeaderMap) -> Request {
        Request::new(method, url, headers, self.inner.policy)
    }

    async fn ask(&self, method: Method, endpoint: &Endpoint, headers: HeaderMap) -> Result<Response, Error> {
        let request = self.request(method, self.url(endpoint)?, headers);
        self.authorized(request, repository_of(endpoint)?).await
    }

    /// The same for a request whose failure is not the upstream's: the circuit does not hear of it.
    async fn ask_uncounted(
        &self,
        method: Method,
        endpoint: &Endpoint,
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        let request = self.request(method, self.url(endpoint)?, headers);
        self.with_token(request, repository_of(endpoint)?).await
    }
}

fn repository_of(endpoint: &Endpoint) -> Result<&Repository, Error> {
    endpoint.repository().ok_or_else(|| Error::invalid("no repository is asked"))
}
