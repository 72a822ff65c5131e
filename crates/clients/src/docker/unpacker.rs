//! The containerd that unpacks for dockerd.

use std::path::{Path, PathBuf};

use super::find::Dockerd;
use crate::containerd::{Unpacker, refuse_without_differs};
use crate::error::Error;
use crate::process::{arguments, flag};

/// Where dockerd looks for a containerd of the machine.
const SOCKET: &str = "/run/containerd/containerd.sock";

impl Dockerd {
    /// The containerd that unpacks for it, if that can be given a differ.
    ///
    /// # Errors
    /// [`Error::Client`] with the reason why not.
    pub fn unpacker(&self) -> Result<Unpacker, Error> {
        let info = self.running.as_ref().map_err(|why| Error::Client(why.clone()))?;
        if !info.has_containerd_store() {
            let why = "dockerd unpacks into its own image store, by itself; --image-store containerd (the action's image-store: \
                       containerd) has containerd do it";
            return Err(Error::Client(why.into()));
        }
        refuse_without_differs(self.containerd_version())?;
        let socket = self.containerd_socket();
        Unpacker::find(&socket)?.ok_or_else(|| {
            Error::Client(format!("dockerd's containerd does not answer on {}", socket.display()))
        })
    }

    /// As it says since 27, as it was told, or where it looks.
    fn containerd_socket(&self) -> PathBuf {
        let said = self.running.as_ref().ok().and_then(|info| info.containerd()).map(Path::to_owned);
        let told = || {
            let arguments = self.pid.map(arguments)?;
            flag(&arguments, "--containerd").map(PathBuf::from)
        };
        said.or_else(told).unwrap_or_else(|| SOCKET.into())
    }
}
