//! Bytes between a client and another host, both ways, until one of them ends or both are silent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long neither side need say anything.
const IDLE: Duration = Duration::from_secs(300);
/// The same while hubcap ends: who transfers something may go on, as far as the drain lets it.
const IDLE_AT_END: Duration = Duration::from_millis(500);
const PIECE: usize = 64 << 10;

/// Copies.
pub(crate) async fn copy<S>(client: S, server: TcpStream, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let heard = Mutex::new(Instant::now());
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(pipe(from_client, to_server, &heard), pipe(from_server, to_client, &heard));
    };
    let silence = async {
        let mut limit = IDLE;
        loop {
            let left = limit.saturating_sub(heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = stopped.changed(), if limit == IDLE => limit = IDLE_AT_END,
            }
        }
    };
    tokio::select! {
        () = both => {}
        () = silence => {}
    }
}

async fn pipe(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: &Mutex<Instant>) {
    let mut piece = vec![0; PIECE];
    // An error is an end: the other side is told so, and whoever speaks TLS in here notices what is missing.
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
