//! HTTP/1.1 and its limits: it is what registries' clients speak.

use std::convert::Infallible;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connections::Requests;
use crate::router::App;

/// The time limit of a TLS handshake, and of an upgrade after a CONNECT.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// The time limit of a request's headers; an idle connection is kept as long.
const HEADERS: Duration = Duration::from_secs(60);
/// The longest request line and headers, in bytes; hyper answers 431 when they are more than its buffer by then, which
/// is at most twice as much. It is also how much of an answer hyper gathers before it writes: not more than one piece of a
/// blob (63 KiB, `hubcap_store`), since two at a time leave the processor's cache before they are sent.
const MAX_HEADERS: usize = 63 << 10;

/// HTTP/1.1 with its limits.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(MAX_HEADERS);
    builder
}

/// Answers a mirror's requests until the connection ends.
pub(crate) async fn serve<S>(stream: S, app: App, requests: Requests, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (app, busy) = (app.clone(), requests.begin());
        async move { Ok::<_, Infallible>(app.answer(request, busy).await) }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(target: "hubcap::listen", "a connection ended: {error}");
    }
}
