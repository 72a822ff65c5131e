//! A registry as its client: the pull side of the distribution specification, a file for each endpoint.

mod authorized;
mod blobs;
mod head;
mod manifests;
mod referrers;
mod tags;

use std::sync::Arc;

use http::{HeaderMap, Method};
use hubcap_oci::{Endpoint, Registry, Repository};
use reqwest::Response;
use url::Url;

use crate::auth::Who;
use crate::config::UpstreamConfig;
use crate::credentials::Secret;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::origin::{Connecting, Origin};
use crate::ratelimit::RateLimit;
use crate::request::Request;

pub use blobs::RegistryBlob;
pub use manifests::ManifestBody;
pub use tags::TagList;

/// The longest page of tags or referrers, in bytes.
const MAX_LIST: usize = 4 << 20;

/// A registry that hubcap may pull from; a clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Upstream {
    registry: Registry,
    origin: Arc<Origin>,
    who: Who,
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig, connecting: Connecting) -> Result<Self, Error> {
        let registry = config.registry.clone();
        let origin = Arc::new(Origin::new(config, connecting)?);
        Ok(Self { registry, origin, who: Who::Own })
    }

    /// The same registry, asked with a client's own Authorization instead of hubcap's.
    pub fn for_client(&self, authorization: Secret) -> Self {
        Self { who: Who::Client(authorization), ..self.clone() }
    }

    /// The same registry, asked without any login.
    pub fn for_anybody(&self) -> Self {
        Self { who: Who::Anonymous, ..self.clone() }
    }

    /// Where its API is.
    pub(crate) fn base(&self) -> &Url {
        &self.origin.url
    }

    /// The client for requests that are passed through.
    pub(crate) fn client(&self) -> Result<&reqwest::Client, Error> {
        self.origin.transport.client(&self.origin.url, self.origin.policy)
    }

    fn limit(&self) -> &ConnectionLimit {
        &self.origin.limit
    }

    /// The registry's name.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn prepare(&self) {
        self.origin.transport.prepare(&self.origin.url, self.origin.policy);
    }

    /// Whether this handle may get more than a client without a login.
    pub async fn is_privileged(&self) -> bool {
        match &self.who {
            Who::Own => self.origin.auth.has_login().await,
            Who::Anonymous => false,
            Who::Client(_) => true,
        }
    }

    /// The rate limit, from the last answer that had one.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.origin.rate_limit()
    }

    fn url(&self, endpoint: &Endpoint) -> Result<Url, Error> {
        self.origin.endpoint(endpoint)
    }

    fn request(&self, method: Method, url: Url, headers: HeaderMap) -> Request {
        Request::new(method, url, headers, self.origin.policy)
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
