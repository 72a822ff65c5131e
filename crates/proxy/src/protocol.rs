//! What a listener's connections speak.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::connect::{self, HttpProxy};
use crate::connections::Requests;
use crate::http1::{self, HANDSHAKE};
use crate::network;
use crate::router::App;

/// What a listener's connections speak, and what answers them.
#[derive(Clone)]
pub(crate) enum Protocol {
    Http(App),
    Https(TlsAcceptor, App),
    /// HTTPS for the clients in the network of the listener's own address alone.
    Bridge(TlsAcceptor, App),
    Connect(Arc<HttpProxy>),
}

/// A client's bytes, with a limit on how long it may accept none.
pub(crate) type Stream = Pin<Box<TimeoutStream<TcpStream>>>;

impl Protocol {
    /// Answers a connection until its end. `stopped` tells of the shutdown; the drain waits for `watcher`.
    pub(crate) async fn serve(
        self,
        stream: Stream,
        peer: SocketAddr,
        requests: Requests,
        watcher: Watcher,
        stopped: watch::Receiver<()>,
    ) {
        let (tls, app) = match self {
            Self::Http(app) => return http1::serve(stream, app, requests, watcher).await,
            Self::Https(tls, app) => (tls, app),
            Self::Bridge(tls, app) => {
                let local = stream.as_ref().get_ref().get_ref().local_addr();
                if !local.is_ok_and(|local| network::are_neighbours(local.ip(), peer.ip())) {
                    return tracing::warn!(target: "hubcap::listen", %peer,
                        "refused: it is not in the network of the bridge");
                }
                (tls, app)
            }
            Self::Connect(proxy) => {
                return connect::serve(stream, &proxy, requests, watcher, stopped).await;
            }
        };
        if peer.ip().is_loopback() && is_plain(stream.as_ref().get_ref().get_ref()).await {
            return http1::serve(stream, app, requests, watcher).await;
        }
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => http1::serve(stream, app, requests, watcher).await,
            Ok(Err(error)) => {
                tracing::debug!(target: "hubcap::listen", %peer, "TLS handshake failed: {error}")
            }
            Err(_) => tracing::debug!(target: "hubcap::listen", %peer, "TLS handshake took too long"),
        }
    }
}

/// Whether a client of the HTTPS port speaks plain HTTP. BuildKit in dockerd before 28 does so with every mirror on
/// loopback, whatever its URL says (BuildKit's `util/resolver`, `fillInsecureOpts`), and would not use hubcap otherwise.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = timeout(HANDSHAKE, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_uppercase()
}
