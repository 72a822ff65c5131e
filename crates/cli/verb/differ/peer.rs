//! The process that asks, containerd. What it means by a path or an owner is the same here only where both see the same.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// The process at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its directory in `/proc`, unless it is in a container that cannot be seen from here.
    process: Option<PathBuf>,
}

impl Peer {
    pub(super) fn of(connection: &UnixStream) -> Self {
        let pid = connection.peer_cred().ok().and_then(|peer| peer.pid()).filter(|&pid| pid > 0);
        Self { process: pid.map(|pid| PathBuf::from(format!("/proc/{pid}"))) }
    }

    /// Why this directory is not the one that it means, if that is so: another mount or user namespace.
    pub(super) fn means(&self, directory: &Path) -> Result<(), String> {
        let process = self.process.as_deref().ok_or("containerd's process cannot be seen from here")?;
        let cannot = |error| format!("it cannot be told whether containerd sees the same files: {error}");
        let users = |process: &Path| std::fs::read_link(process.join("ns/user")).map_err(cannot);
        if users(process)? != users(Path::new("/proc/self"))? {
            return Err("containerd is in another user namespace".into());
        }
        let inode = |path: &Path| {
            let metadata = std::fs::metadata(path).map_err(cannot)?;
            Ok::<_, String>((metadata.dev(), metadata.ino()))
        };
        let there = process.join("root").join(directory.strip_prefix("/").unwrap_or(directory));
        if inode(&there)? != inode(directory)? {
            return Err(format!("{} is another directory for containerd", directory.display()));
        }
        Ok(())
    }
}
