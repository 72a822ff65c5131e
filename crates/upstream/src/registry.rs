//! A registry as its client: the pull side of the distribution specification, a file for each endpoint.

mod authorized;
mod blobs;
mod document;
mod head;
mod manifests;
mod others;
mod packed;
mod referrers;
mod route;
mod source;
pub(crate) mod tags;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use hubcap_oci::{Endpoint, Registry, Repository};
use reqwest::Response;
use url::Url;

use crate::auth::{Requester, Who};
use crate::config::UpstreamConfig;
use crate::connection::Connection;
use crate::credentials::Secret;
use crate::error::{Error, Failed};
use crate::fetch::limit::ConnectionLimit;
use crate::origin::{Connecting, Origin, OriginState};
use crate::ratelimit::RateLimit;
use crate::request::Request;
use crate::shortcut::Shortcut;

pub use manifests::ManifestBody;
pub use others::Others;
pub use referrers::ReferrerList;
pub use source::{Permission, RegistryBlob};
pub use tags::TagList;

/// The longest page of tags or referrers, in bytes. gcr.io tells in a list of tags what each manifest is.
const MAX_LIST: usize = 16 << 20;

/// A registry that hubcap may pull from; a clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Upstream {
    registry: Registry,
    /// The first origin, which decides: what a tag means, and who may have what. All that is asked is asked there.
    origin: Arc<Origin>,
    who: Who,
    /// The other ones, which have the same bytes. Each is a registry of one origin, asked as hubcap itself: a client's
    /// Authorization is for the first alone.
    others: Arc<[Self]>,
    stale_tags: bool,
}

impl Upstream {
    /// # Errors
    /// [`Error::Config`] for a registry without an origin or with one twice, and for what is no origin's address.
    pub(crate) fn new(config: UpstreamConfig, connecting: &Connecting) -> Result<Self, Error> {
        let UpstreamConfig { registry, origins, stale_tags } = config;
        let bad = |why: String| Error::Config { why: format!("upstream {registry} {why}") };
        let mut found: Vec<Arc<Origin>> = Vec::with_capacity(origins.len());
        for config in origins {
            let origin = Origin::new(&registry, config, connecting.for_origin())?;
            if found.iter().any(|other| other.url == origin.url) {
                return Err(bad(format!("has {origin} twice; name each origin once")));
            }
            found.push(Arc::new(origin));
        }
        let alone = |origin: Arc<Origin>| Self {
            registry: registry.clone(),
            origin,
            who: Who::Own,
            others: Arc::default(),
            stale_tags,
        };
        let mut found = found.into_iter().map(alone);
        let first = found.next().ok_or_else(|| bad("has no URL; name at least one".to_owned()))?;
        Ok(Self { others: found.collect(), ..first })
    }

    /// The same registry, asked with a client's own Authorization instead of hubcap's.
    pub fn for_client(&self, authorization: Secret) -> Self {
        Self { who: Who::Client(authorization), ..self.clone() }
    }

    /// The same registry, asked without any login at all its origins.
    pub fn for_anybody(&self) -> Self {
        let others = self.others.iter().map(|other| Self { who: Who::Anonymous, ..other.clone() }).collect();
        Self { who: Who::Anonymous, others, ..self.clone() }
    }

    /// Where its API is.
    pub(crate) fn base(&self) -> &Url {
        &self.origin.url
    }

    /// Where a path, with its query, is at the first origin.
    pub(crate) fn place(&self, path: &str) -> Result<Url, Error> {
        self.origin.at(path)
    }

    /// The client for requests that are passed through.
    pub(crate) fn client(&self, connection: Connection) -> Result<&reqwest::Client, Error> {
        self.origin.transport.client(&self.origin.url, self.origin.policy, connection)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.origin.transport.patience()
    }

    fn limit(&self) -> &ConnectionLimit {
        &self.origin.limit
    }

    fn ranges(&self) -> &Shortcut {
        &self.origin.ranges
    }

    /// The registry's name.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn prepare(&self) {
        for one in self.each() {
            one.origin.transport.prepare(&one.origin.url, one.origin.policy);
        }
    }

    /// Whether this handle may get more than a client without a login.
    pub async fn is_privileged(&self) -> bool {
        match &self.who {
            Who::Own => self.origin.auth.has_login().await,
            Who::Anonymous => false,
            Who::Client(_) => true,
        }
    }

    /// The registry at each of its origins alone.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        let first = Self { others: Arc::default(), ..self.clone() };
        std::iter::once(first).chain(self.others.iter().cloned())
    }

    /// How each origin is, in their order.
    pub fn origins(&self) -> Vec<OriginState> {
        self.each().map(|one| one.origin.state()).collect()
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

    /// For whom a repository is asked.
    fn requester(&self, repository: &Repository) -> Requester {
        Requester { who: self.who.clone(), repository: repository.clone() }
    }

    async fn ask(&self, method: Method, endpoint: &Endpoint, headers: HeaderMap) -> Result<Response, Error> {
        let request = self.request(method, self.url(endpoint)?, headers);
        self.authorized(request, repository_of(endpoint)?).await
    }

    /// The same for a request whose failure is not the upstream's: no circuit hears of it.
    async fn ask_uncounted(
        &self,
        method: Method,
        endpoint: &Endpoint,
        headers: HeaderMap,
    ) -> Result<Response, Failed> {
        let url = self.url(endpoint).map_err(Failed::here)?;
        let repository = repository_of(endpoint).map_err(Failed::here)?;
        self.with_token(self.request(method, url, headers), repository).await
    }
}

fn repository_of(endpoint: &Endpoint) -> Result<&Repository, Error> {
    endpoint.repository().ok_or_else(|| Error::invalid("no repository is asked"))
}
