//! Bytes between a client and another host, both ways, until one of them ends or both are silent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::connections::{Busy, Requests};

/// A tunnel is idle, and may be given up for a new connection, when neither side has said anything for so long.
const QUIET: Duration = Duration::from_secs(10);
/// How long neither side need say anything.
const IDLE: Duration = Duration::from_secs(300);
/// The same while hubcap ends: who transfers something may go on, as far as the drain lets it.
const IDLE_AT_END: Duration = Duration::from_millis(500);
const PIECE: usize = 64 << 10;

/// What was heard of either side.
struct Life {
    requests: Requests,
    state: Mutex<State>,
}

struct State {
    heard: Instant,
    /// While the tunnel is not idle.
    busy: Option<Busy>,
}

impl Life {
    fn new(requests: Requests) -> Self {
        let busy = Some(requests.begin());
        Self { requests, state: Mutex::new(State { heard: Instant::now(), busy }) }
    }

    fn hear(&self) {
        let mut state = self.state();
        state.heard = Instant::now();
        state.busy.get_or_insert_with(|| self.requests.begin());
    }

    /// How long nothing was heard. The tunnel is idle from [`QUIET`] on.
    fn silence(&self) -> Duration {
        let mut state = self.state();
        let silence = state.heard.elapsed();
        if silence >= QUIET {
            state.busy = None;
        }
        silence
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies. `requests` are those of the client's connection, of which the tunnel is one while it is not idle.
pub(crate) async fn copy<S>(
    client: S,
    server: TcpStream,
    requests: Requests,
    mut stopped: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let life = Life::new(requests);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(pipe(from_client, to_server, &life), pipe(from_server, to_client, &life));
    };
    let silence = async {
        let mut limit = IDLE;
        loop {
            let silence = life.silence();
            if silence >= limit {
                return;
            }
            let next = if silence < QUIET { QUIET.min(limit) } else { limit };
            tokio::select! {
                () = tokio::time::sleep(next.saturating_sub(silence)) => {}
                _ = stopped.changed(), if limit == IDLE => limit = IDLE_AT_END,
            }
        }
    };
    tokio::select! {
        () = both => {}
        () = silence => {}
    }
}

async fn pipe(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, life: &Life) {
    let mut piece = vec![0; PIECE];
    // An error is an end: the other side is told so, and whoever speaks TLS in here notices what is missing.
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        life.hear();
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
