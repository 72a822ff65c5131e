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
