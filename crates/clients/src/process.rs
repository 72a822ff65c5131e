//! Programs and processes of this machine: which are installed, and how a daemon is told to read its files again.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::error::Error;
use crate::sudo;

/// Whether a program is where a shell, or root's shell, would find it.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// An environment variable that is a path; `None` where it is not set, or empty.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Sends SIGHUP, which asks a daemon to read its files again; as root where the daemon is another user's.
pub(crate) fn hang_up(pid: Pid) -> Result<(), Error> {
    match rustix::process::kill_process(pid, Signal::HUP) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
            sudo::run(&process, "kill -HUP \"${1#/proc/}\"", None).map(drop)
        }
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

/// Runs `systemctl` with these arguments, as root.
pub(crate) fn systemctl(arguments: &[&str]) -> Result<(), Error> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("systemctl")
    } else {
        let mut command = Command::new("sudo");
        command.args(["-n", "systemctl"]);
        command
    };
    let failed = |why: &str| Error::Client(format!("systemctl {}: {why}", arguments.join(" ")));
    let output =
        command.args(arguments).stdin(Stdio::null()).output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim())) }
}
