//! Connections to the socket, and their limits.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use crate::routes::{Admin, router};
use crate::socket::Socket;

/// How long a client may take for the headers of a request.
const HEADERS: Duration = Duration::from_secs(10);
/// How long a request's body and the head of its answer may take. A pull's lines have no limit.
const REQUEST: Duration = Duration::from_secs(10);
/// The wait after an accept that failed: the process may be out of file descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Answers on the socket until the future is dropped, which removes the socket.
pub async fn serve(socket: Socket, admin: Admin) {
    let service = TowerToHyperService::new(router(admin, REQUEST));
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
                let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(target: "hubcap::admin", "a request was not answered: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(target: "hubcap::admin", "the admin socket: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
