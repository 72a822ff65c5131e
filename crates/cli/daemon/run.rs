//! A run of the daemon: `STATE/run.json`, written when the daemon starts. It stays after the daemon's end, so that later
//! commands know when the daemon ran, and on which store.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use hubcap_clients::mistrusts;
use hubcap_proxy::Bound;
use hubcap_store::Layout;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::replace::{PRIVATE, replace};
use crate::settings::Config;

/// One run of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Run {
    /// When it began, in milliseconds since the epoch.
    pub(crate) started: u64,
    /// The process, which may have ended since.
    pub(crate) pid: u32,
    /// The store, as an absolute path.
    pub(crate) store: PathBuf,
    /// The HTTPS address, with the port that the system gave.
    pub(crate) listen: Option<SocketAddr>,
    /// The plain HTTP address.
    pub(crate) http_listen: Option<SocketAddr>,
    /// The HTTP proxy's address.
    #[serde(default)]
    pub(crate) proxy_listen: Option<SocketAddr>,
    /// The store's [`key`](Layout::key) at the start. `None` when it could not be computed: then whatever the store has at
    /// the end counts as changed.
    pub(crate) key: Option<String>,
    /// Whether `hubcap down` has ended it.
    #[serde(default)]
    pub(crate) ended: bool,
    /// Whether systemd started this process, and so has to stop it.
    #[serde(default)]
    pub(crate) service: bool,
}

/// A run that begins: its store's key is still being computed, on a thread of its own.
pub(crate) struct Beginning {
    run: Run,
    key: JoinHandle<Option<String>>,
}

impl Run {
    /// Begins a run, before the daemon changes anything in the store. With `go_on` the latest run goes on, where it was on
    /// this store and `hubcap down` has not ended it: a daemon that is started again after a crash belongs to the same job.
    pub(crate) fn begin(config: &Config, go_on: bool) -> Beginning {
        let same = |run: &Self| go_on && !run.ended && run.store == config.store;
        let before = Self::read(&config.state).ok().flatten().filter(same);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let store = config.store.clone();
        let known = before.as_ref().and_then(|run| run.key.clone());
        let key = tokio::task::spawn_blocking(move || known.or_else(|| Layout::at(&store).key().ok()));
        let run = Self {
            // 2^64 milliseconds are longer than any clock's time.
            started: before.map_or(since.as_millis() as u64, |run| run.started),
            pid: std::process::id(),
            store: config.store.clone(),
            listen: None,
            http_listen: None,
            proxy_listen: None,
            key: None,
            ended: false,
            service: is_service(),
        };
        Beginning { run, key }
    }

    /// The latest run of this state directory; `None` when there was none.
    ///
    /// # Errors
    /// When the file cannot be read, or hubcap did not write it.
    pub(crate) fn read(state: &Path) -> anyhow::Result<Option<Self>> {
        Ok(Self::known(state)?.map(|(run, _)| run))
    }

    /// As [`read`](Self::read), with the user whose file says so: who may write to the state directory may say anything.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn known(state: &Path) -> anyhow::Result<Option<(Self, u32)>> {
        let path = path(state);
        let (bytes, owner) = match hubcap_clients::own(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| path.display().to_string())?,
        };
        let run = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not say what a run was", path.display()))?;
        Ok(Some((run, owner)))
    }

    /// The latest run, which was on this store.
    ///
    /// # Errors
    /// When there was none, it was on another store, or root would believe another user: then nothing says what was used.
    pub(crate) fn latest(config: &Config) -> anyhow::Result<Self> {
        let state = config.state.display();
        let (run, writer) = Self::known(&config.state)?.with_context(|| {
            format!("no daemon has run with the state directory {state}, so nothing tells what was used; is --state right?")
        })?;
        if mistrusts(writer) {
            bail!(
                "what the last run with the state directory {state} used is not known: {}",
                is_strangers(writer)
            );
        }
        if run.store != config.store {
            let (ran, asked) = (run.store.display(), config.store.display());
            bail!("the last run with the state directory {state} was on the store {ran}, not on {asked}");
        }
        Ok(run)
    }

    /// When it began.
    pub(crate) fn since(&self) -> SystemTime {
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.started));
        since.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Writes the file. The daemon serves without it too, so a failure is a warning.
    pub(crate) fn write(&self, state: &Path) {
        let written =
            replace(&path(state), PRIVATE, |mut file| Ok(file.write_all(&serde_json::to_vec_pretty(self)?)?));
        if let Err(error) = written {
            tracing::warn!(target: "hubcap::run", "this run cannot be written down, so what comes after it will not \
                know of it: {error:#}");
        }
    }
}

impl Beginning {
    /// The run, with the addresses of the bound listeners.
    pub(crate) async fn bound(self, bound: &Bound) -> Run {
        let Self { run, key } = self;
        let (listen, http_listen, proxy_listen) = (bound.https(), bound.http(), bound.connect());
        Run { listen, http_listen, proxy_listen, key: key.await.ok().flatten(), ..run }
    }
}

/// Why root acts on nothing that a daemon or a run of this user says, for an error.
pub(crate) fn is_strangers(user: u32) -> String {
    format!(
        "it is of the user {user}, who could have root end any process and empty any store by it: run this command as that user, or \
         with sudo as that user"
    )
}

/// Whether systemd runs this very process as a service (systemd.exec(5), `SYSTEMD_EXEC_PID`).
fn is_service() -> bool {
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string())
}

fn path(state: &Path) -> PathBuf {
    state.join("run.json")
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let state = std::env::temp_dir().join(format!("hubcap-run-{}", std::process::id()));
        fs::create_dir_all(&state).expect("a directory");
        assert!(matches!(Run::read(&state), Ok(None)));
        let run = Run {
            started: 1,
            pid: 2,
            store: "/s".into(),
            listen: "127.0.0.1:5443".parse().ok(),
            http_listen: None,
            proxy_listen: None,
            key: Some("k".into()),
            ended: false,
            service: false,
        };
        run.write(&state);
        assert_eq!(Run::read(&state).expect("read"), Some(run));
        let mode = fs::metadata(path(&state)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(path(&state), b"{").expect("written");
        assert!(Run::read(&state).is_err());
        fs::remove_file(path(&state)).expect("removed");
        mknodat(CWD, path(&state), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert!(Run::read(&state).is_err(), "nobody is waited for");
        fs::remove_dir_all(&state).expect("removed");
    }
}
