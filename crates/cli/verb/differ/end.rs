//! A differ that is ended by its socket.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_clients::DIFFER_SOCKET;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, kill_process};

/// How long the layers may take that it has begun.
const END: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Ends the differ that listens there. Nobody who listens is no error.
///
/// # Errors
/// When it is no differ of hubcap's, or does not end.
pub(super) fn end(socket: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + END;
    while let Some(pid) = answering(socket)? {
        // The one that unpacks, or the one that holds the socket, until the first one says that it listens.
        let holds = |pid: &Pid| is_differ(*pid, &socket.to_string_lossy());
        if is_differ(pid, "-") || holds(&pid) {
            match kill_process(parent(pid).filter(holds).unwrap_or(pid), Signal::TERM) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => bail!("the differ {} cannot be ended: {error}", pid.as_raw_nonzero()),
            }
        } else if !words(pid).is_empty() {
            bail!(
                "{} is no differ of hubcap's: the process {} listens there",
                socket.display(),
                pid.as_raw_nonzero()
            );
        }
        if Instant::now() > end {
            bail!("the differ on {} has not ended within {} s", socket.display(), END.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    // One that was killed has left it, and the directory that it made.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| socket.display().to_string());
        }
        _ => {}
    }
    if socket == Path::new(DIFFER_SOCKET) {
        let _ = socket.parent().map(std::fs::remove_dir);
    }
    Ok(())
}

/// The process that answers on a socket, as it said that it listens.
fn answering(socket: &Path) -> anyhow::Result<Option<Pid>> {
    match UnixStream::connect(socket) {
        Ok(stream) => Ok(Some(socket_peercred(&stream)?.pid)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| socket.display().to_string()),
    }
}

/// Whether a process is this program, started as `differ --socket WORD`.
fn is_differ(pid: Pid, word: &str) -> bool {
    let words = words(pid);
    let mut words = words.split(|byte| *byte == 0).skip(1);
    [b"differ", &b"--socket"[..], word.as_bytes()].into_iter().all(|word| words.next() == Some(word))
}

/// What a process was started with; nothing where it has ended, or is ending.
fn words(pid: Pid) -> Vec<u8> {
    std::fs::read(proc(pid, "cmdline")).unwrap_or_default()
}

fn parent(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(proc(pid, "status")).ok()?;
    Pid::from_raw(status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?)
}

fn proc(pid: Pid, name: &str) -> PathBuf {
    format!("/proc/{}/{name}", pid.as_raw_nonzero()).into()
}
