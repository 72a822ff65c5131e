//! Accepts connections: each is a task of its own, so no handshake and no slow client delays another client.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_incoming_cpu};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;

use crate::connections::{Connections, OpenConnection};
use crate::protocol::{Protocol, Stream};
use crate::workers::Workers;

/// How long running requests may go on after the shutdown was asked for.
pub const DRAIN: Duration = Duration::from_secs(10);

/// A client that accepts no byte for this long is disconnected. Generous: a client that unpacks while it reads may pause.
const STALLED: Duration = Duration::from_secs(300);
/// The system's send buffer for a client on this machine, in bytes (the system doubles it for its own needs). Such a
/// connection has no delay that more bytes would fill, and they leave the processor's cache before they are read: with
/// the system's own 4 MiB eight clients get two thirds of the throughput.
const SEND_BUFFER: usize = 64 << 10;

/// Accepts connections until `stopped`, then drains them.
pub(crate) async fn serve(
    listener: TcpListener,
    protocol: Protocol,
    workers: Arc<Workers>,
    mut stopped: watch::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let connections = Connections::new();
    loop {
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
        let open = tokio::select! {
            open = connections.open() => open,
            _ = stopped.changed() => break,
        };
        let processor = processor(&stream, peer);
        let connection = Connection {
            stream,
            peer,
            protocol: protocol.clone(),
            watcher: graceful.watcher(),
            stopped: stopped.clone(),
            open,
        };
        workers.spawn(processor, connection.answer());
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(target: "hubcap::listen", "requests still run after {} s; they are cut", DRAIN.as_secs());
    }
}

/// A connection that was accepted, and what its answer needs.
struct Connection {
    stream: StdTcpStream,
    peer: SocketAddr,
    protocol: Protocol,
    watcher: Watcher,
    stopped: watch::Receiver<()>,
    open: OpenConnection,
}

impl Connection {
    async fn answer(self) {
        let Self { stream, peer, protocol, watcher, stopped, open } = self;
        match prepare(stream, peer) {
            Ok(stream) => {
                tokio::select! {
                    () = protocol.serve(stream, peer, open.requests(), watcher, stopped) => {}
                    () = open.given_up() => {
                        tracing::debug!(target: "hubcap::listen", %peer, "the connection is closed for a new one");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(target: "hubcap::listen", %peer, "a connection could not be set up: {error}");
            }
        }
    }
}

/// The processor of a client on this machine: the one that received its first segment. `None` for other clients: the
/// network's interrupts may all come to one processor.
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
