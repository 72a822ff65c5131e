//! The process that holds the socket. It does nothing that could end it, and starts the one that answers.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process, umask};
use tokio::process::{Child, Command};

use crate::args::Differ;
use crate::signals::Signals;

/// Between the end of a process that answers and the next one.
const PAUSE: Duration = Duration::from_millis(200);
/// Every user may see whether the socket is there.
const DIRECTORY_MODE: u32 = 0o755;

/// Holds the socket until SIGTERM or SIGINT, and has it served. Requests wait in the socket while nobody serves it.
pub(super) async fn hold(flags: &Differ) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let path = &flags.socket;
    let made = make_directory(path)?;
    let socket = listen(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    tracing::info!("unpacks layers for containerd on {}", path.display());
    let mut child = start(flags, &socket)?;
    loop {
        tokio::select! {
            () = signals.next() => {
                if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                    let _ = kill_process(pid, Signal::TERM);
                }
                child.wait().await?;
                break;
            }
            ended = child.wait() => tracing::error!("the process that unpacks has ended ({}); starts another", ended?),
        }
        child = tokio::select! {
            () = signals.next() => break,
            another = start_again(flags, &socket) => another,
        };
    }
    // It may be gone with its directory.
    let _ = std::fs::remove_file(path);
    if let Some(made) = made {
        // Where something else is in it, it stays.
        let _ = std::fs::remove_dir(made);
    }
    Ok(())
}

/// Makes the directory of the socket; `None` where it is there.
fn make_directory(socket: &Path) -> anyhow::Result<Option<&Path>> {
    let Some(dir) = socket.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) else {
        return Ok(None);
    };
    DirBuilder::new().mode(DIRECTORY_MODE).create(dir).with_context(|| dir.display().to_string())?;
    Ok(Some(dir))
}

/// Starts another process after a pause, as often as it takes: where there is no memory for one now, requests wait.
async fn start_again(flags: &Differ, socket: &UnixListener) -> Child {
    loop {
        tokio::time::sleep(PAUSE).await;
        match start(flags, socket) {
            Ok(child) => return child,
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}

fn start(flags: &Differ, socket: &UnixListener) -> anyhow::Result<Child> {
    // An update, or the end of the job that brought it, may have removed its file, which the kernel still has.
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    let mut command = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()));
    command.args(["differ", "--socket", "-"]);
    if let Some(root) = &flags.containerd_root {
        command.arg("--containerd-root").arg(root);
    }
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)));
    command.spawn().context("cannot start the process that unpacks")
}

/// Binds the socket for this user alone. One that an ended process has left is replaced.
fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    if let Ok(metadata) = std::fs::symlink_metadata(socket) {
        anyhow::ensure!(
            metadata.file_type().is_socket(),
            "it is there, and no socket; choose another --socket"
        );
        anyhow::ensure!(
            UnixStream::connect(socket).is_err(),
            "another process listens on it; stop that first"
        );
        std::fs::remove_file(socket)?;
    }
    let before = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(socket);
    umask(before);
    Ok(listener?)
}
