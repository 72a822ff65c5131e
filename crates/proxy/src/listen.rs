//! Connections: one task each, so that no handshake and no slow client is in another's way.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_incoming_cpu};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;
use tower::timeout::Timeout;

use crate::api;
use crate::connect;
use crate::router::App;
use crate::workers::Workers;
use crate::{DRAIN, Speaks};

/// Connections at a time, per listener; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the headers of a request, and how long an idle connection is kept.
const HEADERS: Duration = Duration::from_secs(60);
/// From a request to the headers of its answer. An upstream has its own, shorter time; this is for what nobody thought
/// of, since a client that waits for ever is a job that hangs.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);
/// A client that takes nothing for so long is gone. Generous: one that unpacks as it reads may pause.
const STALLED: Duration = Duration::from_secs(300);
/// The longest request line and headers, in bytes; hyper answers 431 when they are more than its buffer by then, which
/// is at most twice as much. It is also how much of an answer hyper gathers before it writes: not more than one piece of a
/// blob (63 KiB, `hubcap_store`), since two at a time leave the processor's cache before they are sent.
const MAX_HEADERS: usize = 63 << 10;

/// What the system holds of an answer to a client on this machine, in bytes (it takes twice as much for its own needs).
/// There is no way that could be filled with bytes, and what is held leaves the processor's cache before it is read: with
/// the system's own 4 MiB eight clients get two thirds of it.
const SEND_BUFFER: usize = 64 << 10;

/// Accepts connections until `stopped`, then drains them.
pub(crate) async fn serve(
    listener: TcpListener,
    speaks: Speaks,
    workers: Arc<Workers>,
    mut stopped: watch::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stopped.changed() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        // It leaves this runtime's event queue for its worker's.
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: some will be closed soon, and a busy loop would not help.
                tracing::warn!(target: "hubcap::listen", "a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (speaks, ends) = (speaks.clone(), (graceful.watcher(), stopped.clone()));
        workers.spawn(processor(&stream, peer), async move {
            let _place = place;
            match prepare(stream, peer) {
                Ok(stream) => speak(stream, peer, speaks, ends).await,
                Err(error) => {
                    tracing::warn!(target: "hubcap::listen", %peer, "a connection could not be taken: {error}");
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(target: "hubcap::listen", "requests still run after {} s; they are cut", DRAIN.as_secs());
    }
}

/// A client's bytes, with a limit to how long it may take none.
type Stream = Pin<Box<TimeoutStream<TcpStream>>>;

/// Where a client on this machine runs, if it is one: its first segment was taken in there. One from elsewhere comes in where
/// the network's interrupts do, all on one processor perhaps.
fn processor(stream: &StdTcpStream, peer: SocketAddr) -> Option<u32> {
    if peer.ip().is_loopback() { socket_incoming_cpu(stream).ok() } else { None }
}

/// Registers a connection with the calling worker's event queue, and sets its options.
fn prepare(stream: StdTcpStream, peer: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::from_std(stream)?;
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    if peer.ip().is_loopback() {
        let _ = set_socket_send_buffer_size(&stream, SEND_BUFFER);
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    Ok(Box::pin(stream))
}

/// Answers a connection until its end.
async fn speak(stream: Stream, peer: SocketAddr, speaks: Speaks, ends: (Watcher, watch::Receiver<()>)) {
    let (tls, app) = match speaks {
        Speaks::Http(app) => return answer(stream, app, ends.0).await,
        Speaks::Https(tls, app) => (tls, app),
        Speaks::Connect(gate) => return connect::answer(stream, &gate, ends).await,
    };
    if peer.ip().is_loopback() && is_plain(stream.as_ref().get_ref().get_ref()).await {
        return answer(stream, app, ends.0).await;
    }
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, app, ends.0).await,
        Ok(Err(error)) => {
            tracing::debug!(target: "hubcap::listen", %peer, "TLS handshake failed: {error}")
        }
        Err(_) => tracing::debug!(target: "hubcap::listen", %peer, "TLS handshake took too long"),
    }
}

/// Whether a client of HTTPS speaks plain HTTP. BuildKit in dockerd before 28 does so with every mirror on loopback,
/// whatever its URL says (BuildKit's `util/resolver`, `fillInsecureOpts`), and would go past hubcap otherwise.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_uppercase()
}

/// Answers a connection's requests. HTTP/1.1 only: it is what registries' clients speak.
async fn answer<S>(stream: S, app: App, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patient = {
        let app = app.clone();
        tower::service_fn(move |request: hyper::Request<Incoming>| {
            let app = app.clone();
            async move { Ok::<_, Infallible>(app.answer(request).await) }
        })
    };
    let patient = Timeout::new(patient, REQUEST);
    let service = hyper::service::service_fn(move |request| match app.at_hand(request) {
        Either::Left(response) => Either::Left(std::future::ready(Ok::<_, Infallible>(response))),
        Either::Right(request) => {
            let answered = patient.clone().oneshot(request);
            // On the heap: a future of some KB would be moved with each answer that is at hand.
            Either::Right(Box::pin(async move {
                Ok(answered.await.unwrap_or_else(|_| api::error::too_slow(REQUEST)))
            }))
        }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(target: "hubcap::listen", "a connection ended: {error}");
    }
}

/// HTTP/1.1, with its limits.
pub(crate) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(MAX_HEADERS);
    builder
}
