//! Method and path to an endpoint, and the answer to it. Past this file there are no strings of a request.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use futures_util::future::Either;
use http::request::Parts;
use http::{Method, Request, Response, header};
use hubcap_cache::{Access, Cache, Caller, RequestGuard};
use hubcap_oci::endpoint::{NotAnEndpoint, parse_query};
use hubcap_oci::{Endpoint, Reference, Registry};

use crate::access_log::{self, Entry};
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
        let reply = self.reply(&parts, &Via::Mirror, started).await;
        respond(&parts, reply, started)
    }

    /// The same for a manifest that is at hand; else the request as it came, which has to wait for its answer.
    pub(crate) fn at_hand<B>(&self, request: Request<B>) -> Either<Response<Body>, Request<B>> {
        // Nothing else is: what it means would be found out twice.
        if !request.uri().path().contains("/manifests/") {
            return Either::Right(request);
        }
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let reply = match self.begin(&parts, &Via::Mirror, started) {
            Begun::Answered(reply) => Some(reply),
            Begun::Asked(Endpoint::Manifest { reference, .. }, asked, asking) => {
                let reply = api::manifest::at_hand(&self.0.cache, &asked, &reference);
                reply.map(|reply| reply.counted(asking))
            }
            Begun::Asked(..) => None,
        };
        match reply {
            Some(reply) => Either::Left(respond(&parts, reply, started)),
            None => Either::Right(Request::from_parts(parts, body)),
        }
    }

    /// What the registries are asked through.
    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) async fn reply(&self, parts: &Parts, via: &Via, started: Instant) -> Reply {
        let (endpoint, asked, asking) = match self.begin(parts, via, started) {
            Begun::Answered(reply) => return reply,
            Begun::Asked(endpoint, asked, asking) => (endpoint, asked, asking),
        };
        let cache = &self.0.cache;
        let reply = match &endpoint {
            Endpoint::Version => api::version(),
            Endpoint::Manifest { reference, .. } => api::manifest::answer(cache, &asked, reference).await,
            Endpoint::Blob { digest, .. } => api::blob::answer(cache, &asked, digest).await,
            Endpoint::Tags { repository, page } => api::tags::answer(cache, &asked, (repository, page)).await,
            Endpoint::Referrers { digest, artifact_type, .. } => {
                api::referrers::answer(cache, &asked, (digest, artifact_type.as_deref())).await
            }
        };
        reply.counted(asking)
    }

    /// What a request means, and the answer where that is all there is to it.
    fn begin<'a>(&self, parts: &'a Parts, via: &Via, started: Instant) -> Begun<'a> {
        let path = parts.uri.path();
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Begun::Answered(api::error::unsupported());
        }
        let query = parse_query(parts.uri.query());
        let endpoint = match Endpoint::parse(path, &query) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                return Begun::Answered(match error {
                    NotAnEndpoint::UnknownPath => api::error::unknown_path(path),
                    NotAnEndpoint::Name(error) => api::error::bad_name(&error),
                    NotAnEndpoint::Reference(error) => api::error::bad_reference(&error),
                });
            }
        };
        let Some(repository) = endpoint.repository() else { return Begun::Answered(api::version()) };
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
            Err(unknown) => return Begun::Answered(api::error::unknown_registry(&endpoint, &unknown)),
        };
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if target.registry.is_docker_hub()
            && api::probe::is_probe(&target.repository)
            && let Some(reply) = api::probe::answer(&endpoint)
        {
            return Begun::Answered(reply);
        }
        let access = Access { target, caller: Caller::new(authorization) };
        let tag = match &endpoint {
            Endpoint::Manifest { reference: Reference::Tag(tag), .. } => Some(tag.as_str()),
            _ => None,
        };
        let asking = cache.count_request(&access.target, tag, started);
        let asked = Asked { parts, access, namespace, no_fallback: *via != Via::Mirror };
        Begun::Asked(endpoint, asked, asking)
    }
}

/// How far a request comes without waiting for anything.
enum Begun<'a> {
    /// To its answer: there is nothing to look up.
    Answered(Reply),
    /// To what is asked for, and its count.
    Asked(Endpoint, Asked<'a>, RequestGuard),
}

/// The response, which logs itself when its body has been sent.
pub(crate) fn respond(parts: &Parts, mut reply: Reply, started: Instant) -> Response<Body> {
    let entry = Entry::new(parts, &mut reply, started);
    let mut response = reply.into_response();
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    access_log::logged(response, entry)
}
