//! A request to an endpoint, and the answer of each endpoint. Past this file there are no strings of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use hubcap_cache::{Access, Cache, Caller, Requested};
use hubcap_oci::endpoint::NotAnEndpoint;
use hubcap_oci::query::parse_query;
use hubcap_oci::{Endpoint, Page, Reference, Registry};
use tokio::time::error::Elapsed;

use crate::access_log::{self, Entry};
use crate::api::error::Fallback;
use crate::api::{self, Asked, Reply};
use crate::connections::Busy;
use crate::host::Names;
use crate::resolve::{Resolver, Selector};

/// The time limit from a request to the headers of its answer. Upstreams have their own, shorter one; this one is for what
/// nobody thought of, since a client that waits forever is a job that hangs.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);

/// Everything that answers a request; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    cache: Cache,
    resolver: Resolver,
    clients: Clients,
    names: Names,
}

/// Whose requests an [`App`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Those that may have what hubcap itself may have.
    Trusted,
    /// Those that may have what anybody may have: hubcap's own logins are not for them.
    Untrusted,
}

impl Clients {
    fn caller(self, authorization: Option<&str>) -> Caller {
        match self {
            Self::Trusted => Caller::new(authorization),
            Self::Untrusted => Caller::new_untrusted(authorization),
        }
    }
}

/// A request's path and query, parsed.
pub(crate) struct Parsed {
    pub(crate) endpoint: Result<Endpoint, NotAnEndpoint>,
    /// The value of `?ns=`.
    pub(crate) namespace: Option<String>,
}

impl Parsed {
    pub(crate) fn new(uri: &Uri) -> Self {
        let endpoint = Endpoint::parse(uri.path(), uri.query());
        let mut query = parse_query(uri.query()).into_iter();
        let namespace = query.find(|(key, _)| key == Page::NAMESPACE).map(|(_, value)| value);
        Self { endpoint, namespace }
    }
}

impl App {
    pub(crate) fn new(cache: Cache, default_registry: Registry, clients: Clients, names: Names) -> Self {
        Self(Arc::new(Inner { cache, resolver: Resolver { default_registry }, clients, names }))
    }

    /// The cache that answers are asked of.
    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// Answers one request to a mirror, and logs it when its body has been sent.
    pub(crate) async fn answer<B>(&self, request: Request<B>, busy: Busy) -> Response<Body> {
        let started = Instant::now();
        let (parts, _) = request.into_parts();
        // What the target names counts more than the header (RFC 9112, section 3.2.2).
        let named = parts.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        let mut hosts = parts.headers.get_all(header::HOST).iter().chain(&named);
        let reply = if let Some(host) = hosts.find(|host| !self.0.names.have(host)) {
            api::error::misdirected(host)
        } else if parts.method == Method::GET || parts.method == Method::HEAD {
            let parsed = Parsed::new(&parts.uri);
            let reply = self.reply(&parts, &parsed, None, started).await;
            reply.unwrap_or_else(|_| {
                let selector = Selector::new(None, parsed.namespace.as_deref());
                api::error::too_slow(REQUEST, Fallback::of(selector, parsed.endpoint.as_ref().ok()))
            })
        } else {
            api::error::unsupported()
        };
        respond(&parts, reply, started, busy)
    }

    /// The answer to a GET or HEAD. `connected` is the registry of the CONNECT that it came through.
    ///
    /// tokio polls the answer before it makes a timer, so an answer from memory costs none.
    ///
    /// # Errors
    /// [`Elapsed`] when there is no answer within [`REQUEST`].
    pub(crate) async fn reply(
        &self,
        parts: &Parts,
        parsed: &Parsed,
        connected: Option<&Registry>,
        started: Instant,
    ) -> Result<Reply, Elapsed> {
        tokio::time::timeout(REQUEST, self.route(parts, parsed, connected, started)).await
    }

    async fn route(
        &self,
        parts: &Parts,
        parsed: &Parsed,
        connected: Option<&Registry>,
        started: Instant,
    ) -> Reply {
        let Inner { cache, resolver, clients, .. } = &*self.0;
        let endpoint = match &parsed.endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => return api::error::not_an_endpoint(error, parts.uri.path()),
        };
        let Some(repository) = endpoint.repository() else { return api::version() };
        let selector = Selector::new(connected, parsed.namespace.as_deref());
        let target = match resolver.resolve(selector, repository, |registry| cache.knows(registry)) {
            Ok(target) => target,
            Err(unknown) => return api::error::unknown_registry(endpoint, &unknown),
        };
        if target.registry.is_docker_hub()
            && api::probe::is_probe(&target.repository)
            && let Some(reply) = api::probe::answer(endpoint)
        {
            return reply;
        }
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let access = Access { target, caller: clients.caller(authorization) };
        let requested = match endpoint {
            Endpoint::Manifest { reference: Reference::Tag(tag), .. } => Requested::Tag(tag.as_str()),
            Endpoint::Manifest { reference: Reference::Digest(_), .. } => Requested::Manifest,
            Endpoint::Blob { digest, .. } if parts.method == Method::GET => Requested::Blob(*digest),
            _ => Requested::Other,
        };
        let guard = cache.count_request(&access.target, requested, started);
        let asked = Asked { parts, endpoint, access, selector };
        let reply = match endpoint {
            Endpoint::Version => api::version(),
            Endpoint::Manifest { reference, .. } => api::manifest::answer(cache, &asked, reference).await,
            Endpoint::Blob { digest, .. } => api::blob::answer(cache, &asked, digest).await,
            Endpoint::Tags { repository, page } => api::tags::answer(cache, &asked, repository, page).await,
            Endpoint::Referrers { digest, artifact_types, .. } => {
                api::referrers::answer(cache, &asked, digest, artifact_types).await
            }
        };
        reply.for_namespace(selector.namespace()).counted(guard)
    }
}

/// The response, which logs itself when its body has been sent. Until then the connection is `busy`.
pub(crate) fn respond(parts: &Parts, mut reply: Reply, started: Instant, busy: Busy) -> Response<Body> {
    let entry = Entry::new(parts, &mut reply, started, busy);
    let mut response = reply.into_response();
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    access_log::logged(response, entry)
}
