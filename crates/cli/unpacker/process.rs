//! The differ that `up` starts: root's, of no job and of no terminal. With systemd it is a unit, which is started again when it
//! was killed; elsewhere the process that holds the socket starts the one that unpacks again.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_clients::{DIFFER_SOCKET, as_root, is_installed};

use crate::daemon::log::{make_room, open, text};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// The unit, until it ends or the machine does.
const UNIT: &str = "hubcap-differ";
/// What the differ writes for each layer.
const APPLIED: &str = "applied sha256:";
/// proc(5), of a socket that listens: the flag, as `/proc/net/unix` has it.
const LISTENS: &str = "00010000";

/// Where the differ says what it does.
pub(crate) fn log(state: &Path) -> PathBuf {
    state.join("differ.log")
}

/// How many layers it has applied, by its log.
pub(crate) fn applied(state: &Path) -> usize {
    applied_by(&text(&log(state)))
}

/// How many layers a differ has applied that has said this.
pub(super) fn applied_by(said: &str) -> usize {
    said.lines().filter(|line| line.contains(APPLIED)).count()
}

/// Whether somebody listens on the differ's socket. Who is not root may not connect, and the kernel tells everybody.
pub(crate) fn is_held() -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    sockets.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&LISTENS) && words.last() == Some(&DIFFER_SOCKET)
    })
}

/// Starts the differ, unless somebody listens already, and waits until it listens.
///
/// # Errors
/// When it does not start, with what it says.
pub(crate) fn ensure(state: &Path) -> anyhow::Result<()> {
    let path = log(state);
    // Also of one that runs: it may do so for months, and has a line for each layer.
    make_room(&path);
    if is_held() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| state.display().to_string())?;
    let log = open(&path).with_context(|| path.display().to_string())?;
    let mut child = command(&path)?
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the differ cannot be started")?;
    let end = Instant::now() + START;
    while !is_held() {
        let ended = child.try_wait()?.filter(|status| !status.success());
        if ended.is_some() || Instant::now() > end {
            give_up();
            bail!("the differ does not listen on {DIFFER_SOCKET}: {} says why", path.display());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Ends the differ, once it has unpacked what it has begun.
///
/// # Errors
/// When it cannot be ended.
pub(crate) fn end() -> anyhow::Result<()> {
    let output = clean(as_root(program()?))
        .args(["differ", "--socket", DIFFER_SOCKET, "--end"])
        .stdin(Stdio::null())
        .output()
        .context("the differ cannot be ended")?;
    if output.status.success() {
        return Ok(());
    }
    bail!("the differ is not ended: {}", String::from_utf8_lossy(&output.stderr).trim())
}

/// Has a differ that was not seen to listen not do so later: systemd may start a unit when it has done other things.
fn give_up() {
    if has_systemd() {
        let _ = clean(as_root("systemctl")).args(["stop", UNIT]).stdin(Stdio::null()).output();
    }
    let _ = end();
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir() && is_installed("systemd-run")
}

/// The command that starts it.
fn command(log: &Path) -> anyhow::Result<Command> {
    let program = program()?;
    let words = ["differ", "--socket", DIFFER_SOCKET];
    if !has_systemd() {
        let mut command = clean(as_root(program));
        command.args(words).arg("--background");
        return Ok(command);
    }
    let mut command = clean(as_root("systemd-run"));
    command.args(["--quiet", "--collect", "--unit", UNIT]);
    // One that is ended in order stays so.
    command.args(["--property", "Restart=on-failure", "--property", "RestartSec=100ms"]);
    for output in ["StandardOutput", "StandardError"] {
        command.arg("--property").arg(format!("{output}=append:{}", log.display()));
    }
    command.arg(program).args(words);
    Ok(command)
}

/// Without the environment of a job: its secrets are none of the differ's, and the runner ends what has its mark in it.
fn clean(mut command: Command) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path);
    command
}

/// This program.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("which program hubcap is cannot be found out")
}
