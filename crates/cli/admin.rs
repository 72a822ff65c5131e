//! The daemon's socket for hubcap's own commands: `STATE/admin.sock`, open to its owner alone. A question is a line of
//! JSON; the answer is lines too, and ends with the connection.

pub(crate) mod client;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubcap_cache::prefetch::{self, End, Event};
use hubcap_cache::{Cache, Snapshot};
use hubcap_oci::{ImageRef, Platform};
use hubcap_store::Store;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::daemon::run::Run;

/// A question is a few images' names.
const MAX_QUESTION: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command asks the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// How it is: one line, a [`Status`].
    Status,
    /// To fill its store with images: lines of [`Progress`].
    Pull { images: Vec<String>, platforms: Vec<String> },
}

/// A line of a pull's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    Image(prefetch::Image),
    /// The last line: how many images could not be pulled.
    Done(usize),
}

/// How the daemon is, and what it did.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    /// Milliseconds since the epoch.
    pub(crate) started: u64,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) ca: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) offline: bool,
    /// Whether an archive of the store is still coming in.
    #[serde(default)]
    pub(crate) restoring: bool,
    /// What was counted since the start.
    pub(crate) meter: Snapshot,
}

/// What answers the questions.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    pub(crate) run: Run,
    pub(crate) ca: PathBuf,
    pub(crate) offline: bool,
}

/// Where the socket is.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("admin.sock")
}

/// The socket, removed with the daemon.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens the socket.
///
/// # Errors
/// When another daemon answers there, or its path is longer than the system takes (107 bytes).
pub(crate) fn open(state: &Path) -> anyhow::Result<Socket> {
    let path = path(state);
    if let Ok(other) = client::status(state) {
        bail!("the daemon {} has it; give this one a --state of its own", other.pid);
    }
    // What a killed daemon leaves.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("{}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(Socket { listener, path })
}

/// Answers until it is dropped.
pub(crate) async fn serve(socket: Socket, admin: Admin) {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(async move {
                    if let Err(error) = admin.answer(stream).await {
                        tracing::debug!(target: "hubcap::admin", "a question was not answered: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(target: "hubcap::admin", "the admin socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Admin {
    async fn answer(&self, mut stream: UnixStream) -> anyhow::Result<()> {
        let (from, mut to) = stream.split();
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, BufReader::new(from.take(MAX_QUESTION)).read_line(&mut line))
            .await??;
        match serde_json::from_str(&line)? {
            Question::Status => say(&mut to, &self.status()).await,
            Question::Pull { images, platforms } => {
                let images =
                    images.iter().map(|image| image.parse()).collect::<Result<Vec<ImageRef>, _>>()?;
                let platforms = platforms
                    .iter()
                    .map(|platform| platform.parse())
                    .collect::<Result<Vec<Platform>, _>>()?;
                let mut failed = 0;
                let mut events = prefetch::start(self.cache.clone(), images, platforms);
                while let Some(event) = events.recv().await {
                    if let Event::Image(image) = event {
                        failed += usize::from(matches!(image.end, End::Failed { .. }));
                        // Who asked may be gone; the images are wanted all the same.
                        let _ = say(&mut to, &Progress::Image(image)).await;
                    }
                }
                say(&mut to, &Progress::Done(failed)).await
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: self.run.pid,
            started: self.run.started,
            listen: self.run.listen,
            http_listen: self.run.http_listen,
            ca: self.ca.clone(),
            store: self.store.root().to_owned(),
            offline: self.offline,
            restoring: self.cache.is_restoring(),
            meter: self.cache.snapshot(),
        }
    }
}

async fn say(to: &mut (impl tokio::io::AsyncWrite + Unpin), what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    Ok(to.write_all(line.as_bytes()).await?)
}
