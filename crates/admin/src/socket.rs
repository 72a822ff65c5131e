//! The Unix socket, `STATE/admin.sock`: open to its owner alone, since names of private repositories are in its answers.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Where the socket of a state directory is.
pub fn path(state: &Path) -> PathBuf {
    state.join("admin.sock")
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
    /// The system refuses it; a path may have 107 bytes.
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
        if let Ok(other) = UnixStream::connect(&path).await {
            // The credentials are those of the process that listens.
            let pid = other.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default();
            return Err(Error::InUse { pid });
        }
        let _ = std::fs::remove_file(&path);
        let open = || {
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        match open() {
            Ok(listener) => Ok(Self { listener, path }),
            Err(error) => Err(Error::Refused { path, error }),
        }
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
    async fn a_path_that_is_too_long_is_named() {
        let state = Path::new("/tmp").join("s".repeat(200));
        let error = Socket::open(&state).await.err().expect("refused");
        assert!(error.to_string().contains("admin.sock"), "{error}");
    }
}
