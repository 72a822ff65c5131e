//! An origin: one place that has a registry's contents, and what hubcap knows of it.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use hubcap_oci::Endpoint;
use url::Url;

use crate::address::AddressPolicy;
use crate::auth::Auth;
use crate::circuit::Circuit;
use crate::config::UpstreamConfig;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::heads::Heads;
use crate::ratelimit::RateLimit;
use crate::transport::Transport;

/// One place that has a registry's contents: its address and its login, and how it has behaved.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) url: Url,
    pub(crate) policy: AddressPolicy,
    pub(crate) transport: Arc<Transport>,
    pub(crate) auth: Auth,
    pub(crate) circuit: Circuit,
    pub(crate) limit: ConnectionLimit,
    pub(crate) manifest_heads: Heads,
    pub(crate) blob_heads: Heads,
    rate_limit: Mutex<Option<RateLimit>>,
}

/// How hubcap connects to an origin.
#[derive(Debug, Clone)]
pub(crate) struct Connecting {
    pub(crate) transport: Arc<Transport>,
    pub(crate) policy: AddressPolicy,
    pub(crate) limit: ConnectionLimit,
}

impl Origin {
    /// # Errors
    /// [`Error::Config`] for an address that is not `http` or `https` with a host and nothing secret in it.
    pub(crate) fn new(config: UpstreamConfig, connecting: Connecting) -> Result<Self, Error> {
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
        let Connecting { transport, policy, limit } = connecting;
        let (circuit, rate_limit) = (Circuit::default(), Mutex::default());
        let (manifest_heads, blob_heads) = (Heads::default(), Heads::default());
        Ok(Self { url, policy, transport, auth, circuit, limit, manifest_heads, blob_heads, rate_limit })
    }

    /// Where an endpoint is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no URL.
    pub(crate) fn endpoint(&self, endpoint: &Endpoint) -> Result<Url, Error> {
        let base = self.url.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{}", endpoint.path())).map_err(|error| Error::invalid(error.to_string()))
    }

    /// The rate limit, from the last answer that had one.
    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the rate limit that an answer tells.
    pub(crate) fn note_rate_limit(&self, headers: &HeaderMap) {
        if let Some(limit) = RateLimit::read(headers) {
            *self.rate_limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
        }
    }
}
