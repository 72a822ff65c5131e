//! An HTTP proxy (RFC 9110, section 9.3.6) for clients that can be configured with a proxy, but with no mirror: classic
//! dockerd for registries other than Docker Hub.
//!
//! [`policy`] decides where a CONNECT may lead. In place of a registry that the CA is for, hubcap answers the requests
//! itself: [`intercept`], with a certificate of [`leaves`]. Other hosts are reached through a [`tunnel`].

mod intercept;
mod leaves;
pub(crate) mod policy;
mod tunnel;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hubcap_oci::Registry;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::connections::{Busy, Requests};
use crate::http1::{self, HANDSHAKE};
use crate::router::App;
use intercept::Intercepted;
pub(crate) use leaves::Leaves;
pub(crate) use policy::Policy;
use policy::Route;

/// The HTTP proxy.
pub(crate) struct HttpProxy {
    pub(crate) app: App,
    pub(crate) policy: Policy,
    pub(crate) leaves: Leaves,
}

/// A CONNECT that was agreed to.
struct Agreed {
    upgrade: OnUpgrade,
    destination: Destination,
    /// Until the client has its tunnel, or for as long as that is open.
    busy: Busy,
}

/// Where the bytes of a CONNECT go.
enum Destination {
    Registry(Registry, TlsAcceptor),
    Host(TcpStream),
}

/// Answers a connection: one CONNECT, and the bytes that follow it. `stopped` tells of the shutdown; the drain waits for
/// `watcher`.
pub(crate) async fn serve<S>(
    stream: S,
    proxy: &Arc<HttpProxy>,
    requests: Requests,
    watcher: Watcher,
    mut stopped: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (agree, mut agreed) = mpsc::channel(1);
    let service = {
        let (proxy, requests) = (Arc::clone(proxy), requests.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let (proxy, agree, busy) = (Arc::clone(&proxy), agree.clone(), requests.begin());
            async move { Ok::<_, Infallible>(handle_connect(&proxy, request, busy, &agree).await) }
        })
    };
    let connection = http1::builder().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        return tracing::debug!(target: "hubcap::connect", "a connection ended: {error}");
    }
    let Ok(Agreed { upgrade, destination, busy }) = agreed.try_recv() else { return };
    let Ok(Ok(client)) = tokio::time::timeout(HANDSHAKE, upgrade).await else { return };
    let client: TokioIo<Upgraded> = TokioIo::new(client);
    match destination {
        Destination::Registry(registry, tls) => {
            drop(busy);
            let intercepted = Intercepted { app: proxy.app.clone(), registry, requests };
            intercept::serve(client, intercepted, tls, watcher).await;
        }
        Destination::Host(server) => {
            drop(busy);
            let _held = watcher;
            tunnel::copy(client, server, requests, stopped).await;
        }
    }
}

/// Answers the CONNECT, after its destination was reached: a client of a tunnel that leads nowhere hangs.
async fn handle_connect(
    proxy: &HttpProxy,
    mut request: Request<Incoming>,
    busy: Busy,
    agree: &mpsc::Sender<Agreed>,
) -> Response<Body> {
    if request.method() != Method::CONNECT {
        let why = "this is hubcap's HTTPS proxy: it answers CONNECT only, and plain HTTP to nobody";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let cache = proxy.app.cache();
    let destination = match proxy.policy.route(request.uri().authority(), |registry| cache.knows(registry)) {
        Ok(Route::Intercept { registry, host }) => match proxy.leaves.get(&host) {
            Ok(tls) => Destination::Registry(registry, tls),
            Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
        },
        Ok(Route::Tunnel { host, port, addresses }) => match cache.tunnel(&host, port, addresses).await {
            Ok(server) => Destination::Host(server),
            Err(hubcap_cache::Error::NotAllowed { why }) => {
                let why = format!("{why}; --proxy-tunnel {host}:{port} allows it");
                return refuse(StatusCode::FORBIDDEN, &why);
            }
            Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
        },
        Err(why) => return refuse(StatusCode::FORBIDDEN, &why),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    // There is room: hyper answers no further request of this connection once a CONNECT was agreed to.
    let _ = agree.try_send(Agreed { upgrade, destination, busy });
    Response::new(Body::empty())
}

/// Refuses a CONNECT. The reason is in the status line too: Go's clients, dockerd among them, show nothing else.
fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    tracing::warn!(target: "hubcap::connect", "refused: {why}");
    let mut response = Response::new(Body::from(format!("hubcap: {why}\n")));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    let line: String = why.chars().filter(|c| c.is_ascii() && !c.is_control()).take(200).collect();
    if let Ok(reason) = ReasonPhrase::try_from(format!("hubcap: {line}").into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}
