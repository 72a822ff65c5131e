//! `hubcap differ`: what it makes of layers, beside containerd's own differ, and against layers that want to break out.

mod containerd;
mod docker;
mod entry;
mod generated;
mod hostile;
mod kinds;
mod namespaces;
mod packings;
mod pair;
mod process;
mod refused;
mod same;
mod tree;
mod wired;

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use crate::support::PATIENCE;
use crate::support::hubcap::command;
use crate::support::programs::Running;

/// A differ on a socket of its own.
struct Differ {
    socket: PathBuf,
    log: PathBuf,
    process: Running,
}

impl Differ {
    fn start(dir: &Path) -> Self {
        Self::start_by(dir, containerd::spawn)
    }

    /// The same, by another way to start a program.
    fn start_by(dir: &Path, spawn: impl Fn(Command, File) -> Child) -> Self {
        let (socket, log) = (dir.join("differ.sock"), dir.join("differ.log"));
        let file = File::create(&log).expect("a log");
        let mut hubcap = command(dir);
        hubcap.arg("differ").arg("--socket").arg(&socket);
        let differ = Self { socket, log, process: Running(spawn(hubcap, file)) };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&differ.socket).is_err() {
            assert!(Instant::now() < end, "the differ does not listen: {}", differ.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        differ
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many layers it has applied.
    fn applied(&self) -> usize {
        self.log().lines().filter(|line| line.contains("applied sha256:")).count()
    }
}
