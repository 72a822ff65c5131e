//! The Unix socket, `STATE/admin.sock`: open to its owner alone, since names of private repositories are in its answers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

/// How many bytes the path of a Unix socket may have (`sun_path` of unix(7), without its zero).
const MAX_PATH: usize = 107;

/// Where the socket of a state directory is.
pub fn path(state: &Path) -> PathBuf {
    state.join("admin.sock")
}

/// Connects to the socket of a state directory; with it the process that listens there and its user, as the kernel has them. Not
/// for asynchronous tasks, which it would stop.
///
/// # Errors
/// When nobody answers there.
pub fn connect_to_known(state: &Path) -> io::Result<(std::os::unix::net::UnixStream, UCred)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let stream = UnixStream::connect(&ShortPath::of(state)?.path).await?;
        let peer = stream.peer_cred()?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok((stream, peer))
    })
}

/// The socket's path, short enough for the system whatever the directory's is: by the directory's handle where need be.
#[derive(Debug)]
pub struct ShortPath {
    path: PathBuf,
    /// The path leads through it.
    _directory: Option<File>,
}

impl ShortPath {
    /// Of the socket of a state directory.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn of(state: &Path) -> io::Result<Self> {
        let whole = path(state);
        if whole.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path: whole, _directory: None });
        }
        let directory = File::open(state)?;
        let handle = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        Ok(Self { path: path(&handle), _directory: Some(directory) })
    }

    /// It leads there for as long as this lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process answers there.
    #[error("the daemon {pid} has it; give this one a --state of its own")]
    InUse {
        /// That process; zero where the system does not tell.
        pid: i32,
    },
    /// The system refuses it.
    #[error("{}: {error}", path.display())]
    Refused {
        /// Where the socket would be.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The open socket; dropped, it is removed.
pub struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens the socket of a state directory. One that a killed daemon left is replaced.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(state: &Path) -> Result<Self, Error> {
        let path = path(state);
        let refused = |error| Error::Refused { path: path.clone(), error };
        let short = ShortPath::of(state).map_err(refused)?;
        if let Ok(other) = UnixStream::connect(&short.path).await {
            // The credentials are those of the process that listens.
            let pid = other.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
            return Err(Error::InUse { pid });
        }
        let _ = std::fs::remove_file(&path);
        let open = || {
            let listener = UnixListener::bind(&short.path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = open().map_err(refused)?;
        Ok(Self { listener, path })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_owner_may_open_the_socket() {
        let state = tempfile::tempdir().expect("a directory");
        let _socket = Socket::open(state.path()).await.expect("a socket");
        let mode = std::fs::metadata(path(state.path())).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_socket_in_use_names_the_process_that_listens() {
        let state = tempfile::tempdir().expect("a directory");
        let _socket = Socket::open(state.path()).await.expect("a socket");
        let error = Socket::open(state.path()).await.err().expect("refused");
        let own = std::process::id();
        assert_eq!(error.to_string(), format!("the daemon {own} has it; give this one a --state of its own"));
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced() {
        let state = tempfile::tempdir().expect("a directory");
        drop(std::os::unix::net::UnixListener::bind(path(state.path())).expect("a socket"));
        assert!(path(state.path()).exists());
        let socket = Socket::open(state.path()).await.expect("a socket");
        drop(socket);
        assert!(!path(state.path()).exists());
    }

    #[tokio::test]
    async fn a_directory_may_have_a_longer_path_than_a_socket() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("s".repeat(200));
        let error = Socket::open(&state).await.err().expect("no such directory");
        assert!(error.to_string().contains("s/admin.sock: "), "{error}");
        std::fs::create_dir(&state).expect("made");
        let socket = Socket::open(&state).await.expect("a socket");
        let connect = async || {
            let short = ShortPath::of(&state)?;
            UnixStream::connect(short.path()).await
        };
        assert!(connect().await.is_ok() && matches!(Socket::open(&state).await, Err(Error::InUse { .. })));
        drop(socket);
        assert!(connect().await.is_err() && !path(&state).exists());
    }
}
