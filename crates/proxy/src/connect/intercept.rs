//! In place of a registry: its pulls are answered as a mirror's are, everything else goes to it untouched.

use std::convert::Infallible;
use std::time::Instant;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hubcap_oci::endpoint::parse_query;
use hubcap_oci::{Endpoint, Reference, Registry, Repository, Target};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio_rustls::TlsAcceptor;

use crate::api::{self, Reply};
use crate::http1::{self, HANDSHAKE, REQUEST};
use crate::resolve::Via;
use crate::router::{App, respond};

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Content that the store may have.
    Pull,
    /// A step of a push; the manifest that it writes or removes, where it does.
    Push(Repository, Option<Reference>),
    /// What is the registry's alone: its challenge, its tokens, whatever else it has.
    Other,
}

/// Answers what comes through a client's tunnel.
pub(super) async fn serve(
    client: TokioIo<Upgraded>,
    app: App,
    registry: Registry,
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
        let (app, registry) = (app.clone(), registry.clone());
        async move { Ok::<_, Infallible>(answer(&app, registry, request).await) }
    });
    let connection = http1::builder().serve_connection(TokioIo::new(client), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(target: "hubcap::connect", "a connection ended: {error}");
    }
}

async fn answer(app: &App, registry: Registry, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let kind = kind(&parts);
    let reply = match &kind {
        Kind::Pull if !is_pushed_to(app, &registry, &parts) => pull(app, &registry, &parts, started).await,
        _ => Err(None),
    };
    let reply = match reply {
        Ok(reply) => reply,
        // What the registry itself says of it: its challenge, or whatever it has against it.
        Err(ours) => match pass(app, &registry, Request::from_parts(parts.clone(), body)).await {
            Ok(reply) => {
                note(app, registry, (kind, reply.status));
                reply
            }
            Err(error) => ours.unwrap_or_else(|| api::error::not_passed(&error, &registry)),
        },
    };
    respond(&parts, reply, started)
}

/// From the store or the upstream, as for a mirror's client. A "no" is better said by the registry.
async fn pull(
    app: &App,
    registry: &Registry,
    parts: &Parts,
    started: Instant,
) -> Result<Reply, Option<Reply>> {
    let via = Via::Connect(registry.clone());
    let answered = tokio::time::timeout(REQUEST, app.reply(parts, &via, started)).await;
    match answered {
        Ok(reply) => match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Err(Some(reply)),
            _ => Ok(reply),
        },
        Err(_) => Err(None),
    }
}

async fn pass(
    app: &App,
    registry: &Registry,
    request: Request<Incoming>,
) -> Result<Reply, hubcap_cache::Error> {
    let response = app.cache().pass(registry, request).await?;
    Ok(Reply::passed(response.map(Body::new)))
}

/// Notes a push: what is known of its repository is older than it.
fn note(app: &App, registry: Registry, (kind, status): (Kind, StatusCode)) {
    let Kind::Push(repository, manifest) = kind else { return };
    let target = Target { registry, repository };
    app.cache().pushing(&target);
    if let Some(reference) = manifest.filter(|_| status.is_success()) {
        app.cache().pushed(&target, &reference);
    }
}

fn is_pushed_to(app: &App, registry: &Registry, parts: &Parts) -> bool {
    match Endpoint::parse(parts.uri.path(), &[]) {
        Ok(Endpoint::Manifest { repository, .. }) if parts.method == Method::HEAD => {
            app.cache().is_pushed_to(&Target { registry: registry.clone(), repository })
        }
        _ => false,
    }
}

fn kind(parts: &Parts) -> Kind {
    let path = parts.uri.path();
    let endpoint = Endpoint::parse(path, &parse_query(parts.uri.query()));
    match (&parts.method, endpoint) {
        // No client that pulls looks whether a blob is there; one that pushes skips what is, so it must be true.
        (&Method::HEAD, Ok(Endpoint::Blob { repository, .. })) => Kind::Push(repository, None),
        (&Method::GET, Ok(Endpoint::Blob { .. } | Endpoint::Tags { .. } | Endpoint::Referrers { .. }))
        | (&(Method::GET | Method::HEAD), Ok(Endpoint::Manifest { .. })) => Kind::Pull,
        (&Method::GET | &Method::HEAD, _) => Kind::Other,
        (_, Ok(Endpoint::Manifest { repository, reference })) => Kind::Push(repository, Some(reference)),
        _ => {
            // end-4, end-6, end-11: /v2/<name>/blobs/uploads/...
            let upload = path.strip_prefix("/v2/").and_then(|rest| rest.rsplit_once("/blobs/uploads"));
            upload.and_then(|(name, _)| name.parse().ok()).map_or(Kind::Other, |name| Kind::Push(name, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_pull_is_taken_for_one() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let kind = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).expect("a request");
            super::kind(&request.into_parts().0)
        };
        let push = || Kind::Push("a/b".parse().expect("a name"), None);
        let written = |text: &str| Kind::Push("a/b".parse().expect("a name"), text.parse().ok());
        assert_eq!(kind("GET", "/v2/a/b/manifests/1"), Kind::Pull);
        assert_eq!(kind("HEAD", "/v2/a/b/manifests/1"), Kind::Pull);
        assert_eq!(kind("GET", &format!("/v2/a/b/blobs/{digest}")), Kind::Pull);
        assert_eq!(kind("GET", "/v2/a/b/tags/list?n=1"), Kind::Pull);
        assert_eq!(kind("HEAD", &format!("/v2/a/b/blobs/{digest}")), push());
        assert_eq!(kind("POST", &format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c")), push());
        assert_eq!(kind("PATCH", "/v2/a/b/blobs/uploads/12-34"), push());
        assert_eq!(kind("PUT", "/v2/a/b/manifests/1"), written("1"));
        assert_eq!(kind("DELETE", &format!("/v2/a/b/manifests/{digest}")), written(digest));
        for (method, path) in [
            ("GET", "/v2/"),
            ("GET", "/token?service=x"),
            ("POST", "/oauth2/token"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/a/../b/manifests/1"),
            ("POST", "/v2/A/blobs/uploads/"),
        ] {
            assert_eq!(kind(method, path), Kind::Other, "{method} {path}");
        }
    }
}
