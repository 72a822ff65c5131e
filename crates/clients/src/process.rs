//! Programs and processes of this machine: which are installed, and how a daemon is told to read its files again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal};

use crate::error::Error;
use crate::{peer, sudo};

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

/// Where Docker's client has its configuration, its contexts and its plugins; `None` where no home directory is known.
pub fn docker_config() -> Option<PathBuf> {
    path_variable("DOCKER_CONFIG").or_else(|| path_variable("HOME").map(|home| home.join(".docker")))
}

/// The process that made a socket.
pub(crate) fn maker(socket: &Path) -> Option<Pid> {
    let stream = peer::connect(peer::ACCEPTS, socket).ok()?;
    rustix::net::sockopt::socket_peercred(&stream).ok().map(|credentials| credentials.pid)
}

/// A process's name; `None` for one that is not seen from here.
pub(crate) fn name(pid: Pid) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    Some(name.trim().to_owned())
}

/// The process that started another one, or took it over.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    Pid::from_raw(status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?)
}

/// The users whose rights a process has or had: its real, effective, saved and file system's one. What a user has started with
/// more rights than his has his arguments all the same. `None` where it does not run. The owner of its directory in `/proc`
/// tells less: that is root, too, for a process that has made itself undumpable.
fn users(pid: Pid) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().map(|user| user.parse().ok()).collect()
}

/// Whether a process is this user's alone.
pub(crate) fn is_own(pid: Pid) -> bool {
    let own = rustix::process::geteuid().as_raw();
    users(pid).is_some_and(|users| users.iter().all(|user| *user == own))
}

/// Whether what a process was started with may decide which file is changed, and what is run: whoever started it is
/// [trusted](sudo::trusts).
pub(crate) fn is_trusted(pid: Pid) -> bool {
    users(pid).is_some_and(|users| users.into_iter().all(sudo::trusts))
}

/// The words that a process was started with.
pub(crate) fn arguments(pid: Pid) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect()
}

/// A flag's value, given as `--flag value` or `--flag=value`.
pub(crate) fn flag<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let mut rest = arguments.iter().skip_while(|argument| argument.split('=').next() != Some(name));
    let first = rest.next()?;
    first.split_once('=').map(|(_, value)| value).or_else(|| rest.next().map(String::as_str))
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

/// Whether a process runs. One that has ended, and that its parent has not waited for, does not.
pub fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X'])))
}

/// When a process was started, to a hundredth of a second; `None` where it does not run.
pub(crate) fn started(pid: Pid) -> Option<SystemTime> {
    // USER_HZ, the same on every architecture that hubcap is built for.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // proc(5): the 22nd field; the second is in brackets, and may have blanks in it.
    let ticks: f64 = stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(uptime - ticks / TICKS).ok()?)
}

/// Runs `systemctl` with these arguments: the machine's as root, or the user's own.
pub(crate) fn systemctl(is_users: bool, arguments: &[&str]) -> Result<(), Error> {
    let mut command = if is_users { Command::new("systemctl") } else { sudo::command("systemctl") };
    let failed = |why: &str| Error::Client(format!("systemctl {}: {why}", arguments.join(" ")));
    command.args(is_users.then_some("--user")).args(arguments);
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim())) }
}

/// What `systemctl` says, which needs no rights; `None` where it fails, as without systemd.
pub(crate) fn systemctl_says(is_users: bool, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("systemctl");
    let output =
        command.args(is_users.then_some("--user")).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_process_that_another_user_has_started_is_not_trusted_whatever_its_rights() {
        if !sudo::is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
        };
        mode(dir.path(), 0o755);
        let (own, with_roots_rights) = (dir.path().join("own"), dir.path().join("with-roots-rights"));
        for (program, bits) in [(&own, 0o755), (&with_roots_rights, 0o4755)] {
            std::fs::copy("/bin/cat", program).expect("copied");
            mode(program, bits);
        }
        for (program, user, trusted) in
            [(&own, 0, true), (&own, 65_534, false), (&with_roots_rights, 65_534, false)]
        {
            let mut command = Command::new(program);
            std::os::unix::process::CommandExt::uid(&mut command, user);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
            let pid = Pid::from_child(&child);
            assert_eq!((is_trusted(pid), is_own(pid)), (trusted, trusted), "{} of {user}", program.display());
            // It reads until nobody writes.
            drop(child.stdin.take());
            child.wait().expect("its end");
            assert!(!is_trusted(pid), "it has ended");
        }
    }

    #[test]
    fn a_flags_value_is_beside_it_or_after_an_equals_sign() {
        let arguments =
            ["dockerd", "--config-file", "/a", "--registry-mirror=https://b", "--debug"].map(String::from);
        assert_eq!(flag(&arguments, "--config-file"), Some("/a"));
        assert_eq!(flag(&arguments, "--registry-mirror"), Some("https://b"));
        assert_eq!(flag(&arguments, "--https-proxy"), None);
    }
}
