//! In place of a registry: its pulls are answered as a mirror's are, everything else goes to it untouched.

use std::convert::Infallible;
use std::time::Instant;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hubcap_cache::Outcome;
use hubcap_oci::{Endpoint, Reference, Registry, Repository, Target};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio_rustls::TlsAcceptor;

use crate::api::error::Fallback;
use crate::api::{self, Reply};
use crate::connections::{Busy, Requests};
use crate::flow::Flow;
use crate::http1::{self, HANDSHAKE};
use crate::router::{App, Parsed, REQUEST, respond};

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
enum Purpose {
    /// Content that the store may have.
    Pull,
    /// A step of a push, and the manifest that it writes or deletes, if it does.
    Push { repository: Repository, manifest: Option<Reference> },
    /// Something that only the registry has: its challenge, its tokens and so on.
    Other,
}

/// A client's tunnel to a registry that hubcap answers for.
pub(super) struct Intercepted {
    pub(super) app: App,
    pub(super) registry: Registry,
    pub(super) requests: Requests,
}

/// Answers what comes through a client's tunnel.
pub(super) async fn serve(
    client: TokioIo<Upgraded>,
    Intercepted { app, registry, requests }: Intercepted,
    tls: TlsAcceptor,
    watcher: Watcher,
) {
    let client = match tokio::time::timeout(HANDSHAKE, tls.accept(client)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            return tracing::warn!(target: "hubcap::connect", "the TLS handshake of a client that wants {registry} \
                failed ({error}): give it hubcap's ca.pem for {registry}, or leave {registry} out of --proxy-intercept");
        }
        Err(_) => return tracing::debug!(target: "hubcap::connect", "a TLS handshake took too long"),
    };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (app, registry, busy) = (app.clone(), registry.clone(), requests.begin());
        async move { Ok::<_, Infallible>(answer(&app, registry, request, busy).await) }
    });
    let connection = http1::builder().serve_connection(TokioIo::new(client), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(target: "hubcap::connect", "a connection ended: {error}");
    }
}

async fn answer(app: &App, registry: Registry, request: Request<Incoming>, busy: Busy) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    if [Method::CONNECT, Method::TRACE].contains(&parts.method) {
        return respond(&parts, api::error::not_for_a_registry(&parts.method), started, busy);
    }
    let parsed = Parsed::new(&parts.uri);
    let purpose = Purpose::of(&parts, &parsed);
    let ours = match purpose {
        Purpose::Pull if !is_pushed_to(app, &registry, &parts, &parsed) => {
            app.reply(&parts, &parsed, Some(&registry), started).await.ok()
        }
        _ => None,
    };
    let is_locked = purpose == Purpose::Pull && is_locked(app, &parsed);
    let reply = match ours {
        Some(reply) if !is_refusal(&reply) => reply,
        // The registry's own word is better: its challenge, or the reason of its refusal.
        ours => match pass(app, &registry, Request::from_parts(parts.clone(), body), &busy.flow()).await {
            // A challenge, perhaps, but not what the tag means there.
            Ok(reply) if is_locked && reply.status.is_success() => {
                ours.unwrap_or_else(|| api::error::too_slow(REQUEST, Fallback::Nowhere))
            }
            Ok(reply) => {
                note(app, registry, purpose, reply.status);
                reply
            }
            Err(error) => ours.unwrap_or_else(|| api::error::not_passed(&error, &registry)),
        },
    };
    respond(&parts, reply, started, busy)
}

/// Whether the registry may say something else. A range without a byte in it is refused by hubcap itself, which knows the blob, and
/// so is a tag that is not locked.
fn is_refusal(reply: &Reply) -> bool {
    reply.status.is_client_error()
        && reply.status != StatusCode::RANGE_NOT_SATISFIABLE
        && reply.outcome != Outcome::NotLocked
}

/// Whether this is a tag whose meaning a lock says.
fn is_locked(app: &App, parsed: &Parsed) -> bool {
    let is_tag = matches!(parsed.endpoint, Ok(Endpoint::Manifest { reference: Reference::Tag(_), .. }));
    is_tag && app.cache().is_frozen()
}

/// Passes a request on. The registry may take long to answer; while neither side says anything, others may need the connection.
async fn pass(
    app: &App,
    registry: &Registry,
    request: Request<Incoming>,
    flow: &Flow,
) -> Result<Reply, hubcap_cache::Error> {
    flow.wait_for_answer(Instant::now());
    let heard = flow.clone();
    let request = request.map(|body| body.inspect_frame(move |_| heard.hear(Instant::now())));
    let response = app.cache().pass(registry, request).await;
    flow.rest();
    Ok(Reply::passed(response?.map(Body::new)))
}

/// Notes a push: what hubcap knows of its repository is older.
fn note(app: &App, registry: Registry, purpose: Purpose, status: StatusCode) {
    let Purpose::Push { repository, manifest } = purpose else { return };
    let target = Target::new(registry, repository);
    app.cache().pushing(&target);
    if let Some(reference) = manifest.filter(|_| status.is_success()) {
        app.cache().pushed(&target, &reference);
    }
}

/// Whether this is a HEAD of a manifest in a repository that a client pushes to.
fn is_pushed_to(app: &App, registry: &Registry, parts: &Parts, parsed: &Parsed) -> bool {
    match &parsed.endpoint {
        Ok(Endpoint::Manifest { repository, .. }) if parts.method == Method::HEAD => {
            !is_locked(app, parsed)
                && app.cache().is_pushed_to(&Target::new(registry.clone(), repository.clone()))
        }
        _ => false,
    }
}

impl Purpose {
    fn of(parts: &Parts, parsed: &Parsed) -> Self {
        match (&parts.method, &parsed.endpoint) {
            // No client that pulls asks whether a blob is there; one that pushes skips what is, so it must be true.
            (&Method::HEAD, Ok(Endpoint::Blob { repository, .. })) => {
                Self::Push { repository: repository.clone(), manifest: None }
            }
            (
                &Method::GET,
                Ok(Endpoint::Blob { .. } | Endpoint::Tags { .. } | Endpoint::Referrers { .. }),
            )
            | (&(Method::GET | Method::HEAD), Ok(Endpoint::Manifest { .. })) => Self::Pull,
            (&Method::GET | &Method::HEAD, _) => Self::Other,
            (_, Ok(Endpoint::Manifest { repository, reference })) => {
                Self::Push { repository: repository.clone(), manifest: Some(reference.clone()) }
            }
            _ => {
                // end-4, end-6, end-11: /v2/<name>/blobs/uploads/...
                let rest = parts.uri.path().strip_prefix("/v2/");
                let upload = rest.and_then(|rest| rest.rsplit_once("/blobs/uploads"));
                match upload.and_then(|(name, _)| name.parse().ok()) {
                    Some(repository) => Self::Push { repository, manifest: None },
                    None => Self::Other,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_pull_is_taken_for_one() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let purpose = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).expect("a request");
            let (parts, ()) = request.into_parts();
            Purpose::of(&parts, &Parsed::new(&parts.uri))
        };
        let repository: Repository = "a/b".parse().expect("a name");
        let push = || Purpose::Push { repository: repository.clone(), manifest: None };
        let written =
            |text: &str| Purpose::Push { repository: repository.clone(), manifest: text.parse().ok() };
        assert_eq!(purpose("GET", "/v2/a/b/manifests/1"), Purpose::Pull);
        assert_eq!(purpose("HEAD", "/v2/a/b/manifests/1"), Purpose::Pull);
        assert_eq!(purpose("GET", &format!("/v2/a/b/blobs/{digest}")), Purpose::Pull);
        assert_eq!(purpose("GET", "/v2/a/b/tags/list?n=1"), Purpose::Pull);
        assert_eq!(purpose("HEAD", &format!("/v2/a/b/blobs/{digest}")), push());
        assert_eq!(purpose("POST", &format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c")), push());
        assert_eq!(purpose("PATCH", "/v2/a/b/blobs/uploads/12-34"), push());
        assert_eq!(purpose("PUT", "/v2/a/b/manifests/1"), written("1"));
        assert_eq!(purpose("DELETE", &format!("/v2/a/b/manifests/{digest}")), written(digest));
        for (method, path) in [
            ("GET", "/v2/"),
            ("GET", "/token?service=x"),
            ("POST", "/oauth2/token"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/a/../b/manifests/1"),
            ("POST", "/v2/A/blobs/uploads/"),
        ] {
            assert_eq!(purpose(method, path), Purpose::Other, "{method} {path}");
        }
    }
}
