//! A daemon restarted, by whoever looks after it: systemd where it is a unit's main process, a command that the user gives, else
//! as its process was started.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::Error;
use crate::process::{is_running, systemctl, systemctl_says};
use crate::spawned::Spawned;

/// How long a daemon may take to stop: dockerd gives its containers 15 s.
const END: Duration = Duration::from_secs(60);
/// How long it may take to start: dockerd looks through its images and containers.
const START: Duration = Duration::from_secs(60);
/// How long whoever looks after it may take to start it again.
const SUPERVISOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// How a daemon is restarted.
#[derive(Debug)]
pub struct Restart(pub(crate) How);

#[derive(Debug)]
pub(crate) enum How {
    /// It is the main process of this unit, of the machine's systemd or of a user's.
    Systemd { unit: String, is_users: bool },
    /// The user's command does it.
    Command(String),
    /// As it was started.
    Process(Box<Spawned>),
}

/// A daemon that is restarted.
pub(crate) struct Daemon<'a> {
    /// Its program's name.
    pub(crate) name: &'a str,
    pub(crate) socket: &'a Path,
    /// What is in its environment beside what is there now, where its process is started from here.
    pub(crate) environment: &'a [(String, String)],
    /// What is in its environment now, and is not to be.
    pub(crate) without: &'a [&'a str],
    pub(crate) answers: &'a dyn Fn() -> bool,
}

impl How {
    /// By the unit that a process is the main one of.
    pub(crate) fn systemd(pid: Pid) -> Option<Self> {
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()?;
        let (unit, is_users) = unit(&cgroup)?;
        (main_pid(&unit, is_users) == Some(pid)).then_some(Self::Systemd { unit, is_users })
    }

    /// Where the daemon says what it does, for an error.
    fn log(&self, name: &str) -> String {
        match self {
            Self::Systemd { unit, is_users: false } => format!("`journalctl -u {unit}`"),
            Self::Systemd { unit, is_users: true } => format!("`journalctl --user -u {unit}`"),
            Self::Command(_) => format!("{name}'s log"),
            Self::Process(spawned) => spawned.log(),
        }
    }
}

impl Restart {
    /// Restarts the daemon, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Client`] when it does not stop or does not come back, with where its log is.
    pub(crate) fn run(&self, daemon: &Daemon<'_>) -> Result<(), Error> {
        let Self(how) = self;
        match how {
            How::Systemd { unit, is_users } => {
                systemctl(*is_users, &["daemon-reload"])?;
                systemctl(*is_users, &["restart", unit])?;
            }
            How::Command(command) => run(command, daemon.name)?,
            How::Process(spawned) => return daemon.restart_process(spawned),
        }
        let log = how.log(daemon.name);
        if within(START, daemon.answers) { Ok(()) } else { Err(daemon.did_not_come_back(&log)) }
    }
}

impl Daemon<'_> {
    fn restart_process(&self, spawned: &Spawned) -> Result<(), Error> {
        let name = self.name;
        if is_running(spawned.pid) {
            // One that is gone was stopped by an earlier, failed restart.
            let _ = rustix::process::kill_process(spawned.pid, Signal::TERM);
        }
        let pid = spawned.pid.as_raw_nonzero();
        let log = spawned.log();
        if !within(END, || !is_running(spawned.pid)) {
            let why =
                format!("{name} (process {pid}) did not stop within {} s; {log} says why", END.as_secs());
            return Err(Error::Client(why));
        }
        // Whoever looks after it starts it again; two would not get on.
        if within(SUPERVISOR, self.answers) {
            return Ok(());
        }
        let mut child = spawned
            .start(self.environment, self.without)
            .map_err(|error| Error::Client(format!("{name} does not start: {error}")))?;
        let mut ended = None;
        let answers = within(START, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || (self.answers)()
        });
        match ended {
            Some(status) => {
                Err(Error::Client(format!("{name} ended at its start ({status}); {log} says why")))
            }
            None if answers => Ok(()),
            None => Err(self.did_not_come_back(&log)),
        }
    }

    fn did_not_come_back(&self, log: &str) -> Error {
        let (name, socket, seconds) = (self.name, self.socket.display(), START.as_secs());
        Error::Client(format!(
            "{name} does not answer on {socket} within {seconds} s of its restart; {log} says why"
        ))
    }
}

/// Runs the user's command.
fn run(command: &str, name: &str) -> Result<(), Error> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Client(format!("`{command}` did not restart {name} ({}): {said}", output.status)))
}

/// Whether something holds in time.
fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The unit in a process's control groups, and whether it is of a user's systemd.
fn unit(cgroup: &str) -> Option<(String, bool)> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let unit = Path::new(path).file_name()?.to_str()?;
        unit.ends_with(".service").then(|| (unit.to_owned(), path.contains("/user@")))
    })
}

/// The main process of a unit; `None` when it does not run, or there is no systemd.
pub(crate) fn main_pid(unit: &str, is_users: bool) -> Option<Pid> {
    let said = systemctl_says(is_users, &["show", "--property=MainPID", "--value", unit])?;
    Pid::from_raw(said.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_from_either_version_of_control_groups() {
        for (cgroup, found) in [
            ("0::/system.slice/docker.service\n", Some(("docker.service", false))),
            (
                "9:name=systemd:/system.slice/snap.docker.dockerd.service\n8:pids:/\n0::/\n",
                Some(("snap.docker.dockerd.service", false)),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service\n",
                Some(("docker.service", true)),
            ),
            ("0::/\n", None),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("", None),
        ] {
            let unit = unit(cgroup);
            assert_eq!(unit.as_ref().map(|(unit, is_users)| (unit.as_str(), *is_users)), found, "{cgroup}");
        }
    }

    #[test]
    fn a_command_that_fails_is_told_with_what_it_says() {
        run("true", "dockerd").expect("it works");
        let error = run("echo no such service >&2; exit 3", "dockerd").expect_err("it fails").to_string();
        assert!(error.contains("no such service") && error.contains("exit status: 3"), "{error}");
    }
}
