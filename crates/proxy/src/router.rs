//! Method and path to an endpoint, and the answer to it. Past this file there are no strings of a request.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use http::{Method, Request, Response, header};
use hubcap_cache::{Access, Cache, Caller};
use hubcap_oci::endpoint::{NotAnEndpoint, parse_query};
use hubcap_oci::{Endpoint, Reference, Registry};

use crate::access::{self, Entry};
use crate::api::{self, Asked, Reply};
use crate::resolve::{Resolver, Selector, Via};

/// Everything that answers a request; a clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    cache: Cache,
    resolver: Resolver,
}

impl App {
    pub(crate) fn new(cache: Cache, default_registry: Registry) -> Self {
        Self(Arc::new(Inner { cache, resolver: Resolver { default_registry } }))
    }

    /// Answers one request, and logs it when its body has been sent.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let started = Instant::now();
        let (parts, _) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let mut reply = self.reply(&parts, &Via::Mirror).await;
        let entry = Entry::new(&parts, &mut reply, started);
        let mut response = reply.into_response();
        if head {
            *response.body_mut() = Body::empty();
        }
        access::logged(response, entry)
    }

    /// What the registries are asked through.
    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) async fn reply(&self, parts: &http::request::Parts, via: &Via) -> Reply {
        let path = parts.uri.path();
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return api::error::unsupported();
        }
        let query = parse_query(parts.uri.query());
        let endpoint = match Endpoint::parse(path, &query) {
            Ok(endpoint) => endpoint,
            Err(NotAnEndpoint::UnknownPath) => return api::error::unknown_path(path),
            Err(NotAnEndpoint::Name(error)) => return api::error::bad_name(&error),
            Err(NotAnEndpoint::Reference(error)) => return api::error::bad_reference(&error),
        };
        let Some(repository) = endpoint.repository() else { return api::version() };
        let namespace = query.into_iter().find(|(key, _)| key == "ns").map(|(_, value)| value);
        let namespace = namespace.filter(|_| *via == Via::Mirror);
        let selector = match (via, &namespace) {
            (Via::Connect(registry), _) => Selector::Connect(registry.clone()),
            (Via::Mirror, Some(name)) => Selector::Namespace(name.clone()),
            (Via::Mirror, None) => Selector::Path,
        };
        let cache = &self.0.cache;
        let target = match self.0.resolver.resolve(&selector, repository, |registry| cache.knows(registry)) {
            Ok(target) => target,
            Err(unknown) => return api::error::unknown_registry(&endpoint, &unknown),
        };
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if target.registry.is_docker_hub()
            && api::proof::is_meant(&target.repository)
            && let Some(reply) = api::proof::answer(&endpoint)
        {
            return reply;
        }
        let access = Access { target, caller: Caller::new(authorization) };
        let tag = match &endpoint {
            Endpoint::Manifest { reference: Reference::Tag(tag), .. } => Some(tag.as_str()),
            _ => None,
        };
        let asking = cache.asking(&access.target, tag);
        let asked = Asked { parts, access, namespace, only_way: *via != Via::Mirror };
        let mut reply = match &endpoint {
            Endpoint::Version => api::version(),
            Endpoint::Manifest { reference, .. } => api::manifest::answer(cache, &asked, reference).await,
            Endpoint::Blob { digest, .. } => api::blob::answer(cache, &asked, digest).await,
            Endpoint::Tags { repository, page } => api::tags::answer(cache, &asked, (repository, page)).await,
            Endpoint::Referrers { digest, artifact_type, .. } => {
                api::referrers::answer(cache, &asked, (digest, artifact_type.as_deref())).await
            }
        };
        reply.asking = Some(asking);
        reply
    }
}
