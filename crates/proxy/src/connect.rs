//! An HTTP proxy (RFC 9110, section 9.3.6) for clients that can be told of a proxy, and not of a mirror: classic dockerd
//! with other registries than Docker Hub.
//!
//! To a registry that the CA is for, we are the registry: [`intercept`]. Everybody else is reached through a
//! [`tunnel`], as far as [`gate`](Gate::route) lets anybody go.

mod gate;
mod intercept;
mod tunnel;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::listen::{self, HANDSHAKE};
use gate::Route;
pub(crate) use gate::{Gate, names};

/// What a client's CONNECT has led to.
enum Next {
    Intercept(gate::Intercepted),
    Tunnel(TcpStream),
}

/// Answers a connection: one CONNECT, and what comes through it.
pub(crate) async fn answer<S>(
    stream: S,
    gate: &Arc<Gate>,
    (watcher, mut stopped): (Watcher, watch::Receiver<()>),
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let agreed: Arc<Mutex<Option<(OnUpgrade, Next)>>> = Arc::default();
    let (gate, slot) = (Arc::clone(gate), Arc::clone(&agreed));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (gate, slot) = (Arc::clone(&gate), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(handle_connect(&gate, request, &slot).await) }
    });
    let connection = listen::builder().serve_connection(TokioIo::new(stream), service).with_upgrades();
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
    let taken = agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((upgrade, next)) = taken else { return };
    let Ok(Ok(client)) = tokio::time::timeout(HANDSHAKE, upgrade).await else { return };
    let client: TokioIo<Upgraded> = TokioIo::new(client);
    match next {
        Next::Intercept(intercepted) => intercept::serve(client, intercepted, watcher).await,
        Next::Tunnel(server) => {
            let _drained = watcher;
            tunnel::copy(client, server, stopped).await;
        }
    }
}

/// Answers the CONNECT. What it leads to is reached first: a client that waits for nothing is one that hangs.
async fn handle_connect(
    gate: &Gate,
    mut request: Request<Incoming>,
    slot: &Mutex<Option<(OnUpgrade, Next)>>,
) -> Response<Body> {
    if request.method() != Method::CONNECT {
        let why = "this is hubcap's HTTPS proxy: it answers CONNECT only, and plain HTTP to nobody";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let next = match gate.route(request.uri().authority()) {
        Ok(Route::Intercept(registry, host)) => match gate.intercepted(registry, &host) {
            Ok(intercepted) => Next::Intercept(intercepted),
            Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
        },
        Ok(Route::Tunnel { host, port, policy }) => match gate.cache().tunnel(&host, port, policy).await {
            Ok(server) => Next::Tunnel(server),
            Err(hubcap_cache::Error::NotAllowed { why }) => {
                return refuse(
                    StatusCode::FORBIDDEN,
                    &format!("{why}; --proxy-tunnel {host}:{port} allows it"),
                );
            }
            Err(error) => return refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
        },
        Err(why) => return refuse(StatusCode::FORBIDDEN, &why),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, next));
    Response::new(Body::empty())
}

/// No. The reason is in the status line too: it is all of it that Go's clients, dockerd among them, show.
fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    tracing::warn!(target: "hubcap::connect", "refused: {why}");
    let mut response = Response::new(Body::from(format!("hubcap: {why}\n")));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    let line: String = why.chars().filter(|c| c.is_ascii() && !c.is_control()).take(200).collect();
    if let Ok(reason) = ReasonPhrase::try_from(format!("hubcap: {line}").into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}
