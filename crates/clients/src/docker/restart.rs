//! dockerd restarted, by whoever looks after it: systemd where dockerd is a unit's main process, a command that the user
//! gives, else as its process was started. dockerd reads its proxy, and which image
//! store it has, only when it starts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::find::Dockerd;
use super::info::Info;
use super::proxy::Proxy;
use super::spawned::Spawned;
use crate::error::Error;
use crate::journal::Journal;
use crate::process::{is_running, systemctl, systemctl_says};

/// How long dockerd may take to stop: it gives its containers 15 s.
const END: Duration = Duration::from_secs(60);
/// How long it may take to start: it looks through its images and containers.
const START: Duration = Duration::from_secs(60);
/// How long whoever looks after it may take to start it again.
const SUPERVISOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
/// The unit of Docker's packages.
const UNIT: &str = "docker.service";

/// How a dockerd is restarted.
#[derive(Debug)]
pub struct Restart(How);

#[derive(Debug)]
enum How {
    /// It is the main process of this unit, of the machine's systemd or of a user's.
    Systemd { unit: String, is_users: bool },
    /// The user's command does it.
    Command(String),
    /// As it was started.
    Process(Box<Spawned>),
}

impl Dockerd {
    /// How this dockerd can be restarted; with `command` the user says it. Nothing is changed yet.
    ///
    /// # Errors
    /// [`Error::Client`] with the reason, and what the user can give.
    pub fn how_to_restart(&self, command: Option<&str>) -> Result<Restart, Error> {
        if let Some(command) = command {
            return Ok(Restart(How::Command(command.to_owned())));
        }
        if let Some(how) = self.systemd() {
            return Ok(Restart(how));
        }
        let unknown = |why: String| {
            Error::Client(format!(
                "how dockerd on {} is restarted is not known: {why}. Say it: --restart-command 'service docker restart'",
                self.socket.display()
            ))
        };
        let pid = self.pid.ok_or_else(|| unknown("its process was not found".into()))?;
        Spawned::of(pid).map(|spawned| Restart(How::Process(Box::new(spawned)))).map_err(unknown)
    }

    /// What a user types to restart it.
    pub fn restart_command(&self) -> String {
        match self.systemd() {
            Some(How::Systemd { unit, is_users: false }) => {
                format!("systemctl daemon-reload; systemctl restart {unit}")
            }
            Some(How::Systemd { unit, is_users: true }) => {
                format!("systemctl --user daemon-reload; systemctl --user restart {unit}")
            }
            _ => "restart dockerd".to_owned(),
        }
    }

    /// What a user types to have it read its files again.
    pub fn reload_command(&self) -> String {
        match (self.systemd(), self.pid) {
            (Some(How::Systemd { unit, is_users: false }), _) => format!("systemctl reload {unit}"),
            (Some(How::Systemd { unit, is_users: true }), _) => format!("systemctl --user reload {unit}"),
            (_, Some(pid)) => format!("kill -HUP {}", pid.as_raw_nonzero()),
            _ => "restart dockerd".to_owned(),
        }
    }

    /// The unit that it is the main process of.
    fn systemd(&self) -> Option<How> {
        let Some(pid) = self.pid else {
            let is_main = self.running.is_ok() && main_pid(UNIT, false).is_some();
            return is_main.then(|| How::Systemd { unit: UNIT.to_owned(), is_users: false });
        };
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()?;
        let (unit, is_users) = unit(&cgroup)?;
        (main_pid(&unit, is_users) == Some(pid)).then_some(How::Systemd { unit, is_users })
    }

    /// Restarts it, and waits until it answers. Its containers stop unless it has live-restore. Of the journal it is known which
    /// environment a dockerd before 23 is to have.
    ///
    /// # Errors
    /// [`Error::Client`] when it does not stop or does not come back, with where its log is.
    pub fn restart(&self, Restart(how): &Restart, journal: &Journal) -> Result<(), Error> {
        match how {
            How::Systemd { unit, is_users } => {
                systemctl(*is_users, &["daemon-reload"])?;
                systemctl(*is_users, &["restart", unit])?;
            }
            How::Command(command) => run(command)?,
            How::Process(spawned) => return self.restart_process(spawned, &Proxy::environment(journal)),
        }
        self.wait_for_start(&how.log())
    }

    fn restart_process(&self, spawned: &Spawned, environment: &[(String, String)]) -> Result<(), Error> {
        if is_running(spawned.pid) {
            // One that is gone was stopped by an earlier, failed restart.
            let _ = rustix::process::kill_process(spawned.pid, rustix::process::Signal::TERM);
        }
        let pid = spawned.pid.as_raw_nonzero();
        let log = spawned.log();
        if !within(END, || !is_running(spawned.pid)) {
            let why =
                format!("dockerd (process {pid}) did not stop within {} s; {log} says why", END.as_secs());
            return Err(Error::Client(why));
        }
        // Whoever looks after it starts it again; two would not get on.
        if within(SUPERVISOR, || Info::ask(&self.socket).is_ok()) {
            return Ok(());
        }
        let mut child = spawned
            .start(environment)
            .map_err(|error| Error::Client(format!("dockerd does not start: {error}")))?;
        let mut ended = None;
        let answers = within(START, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || Info::ask(&self.socket).is_ok()
        });
        match ended {
            Some(status) => {
                Err(Error::Client(format!("dockerd ended at its start ({status}); {log} says why")))
            }
            None if answers => Ok(()),
            None => Err(self.did_not_come_back(&log)),
        }
    }

    fn wait_for_start(&self, log: &str) -> Result<(), Error> {
        let answers = within(START, || Info::ask(&self.socket).is_ok());
        if answers { Ok(()) } else { Err(self.did_not_come_back(log)) }
    }

    fn did_not_come_back(&self, log: &str) -> Error {
        let (socket, seconds) = (self.socket.display(), START.as_secs());
        Error::Client(format!(
            "dockerd does not answer on {socket} within {seconds} s of its restart; {log} says why"
        ))
    }
}

impl How {
    /// Where dockerd says what it does, for an error.
    fn log(&self) -> String {
        match self {
            Self::Systemd { unit, is_users: false } => format!("`journalctl -u {unit}`"),
            Self::Systemd { unit, is_users: true } => format!("`journalctl --user -u {unit}`"),
            Self::Command(_) => "dockerd's log".to_owned(),
            Self::Process(spawned) => spawned.log(),
        }
    }
}

/// Runs the user's command.
fn run(command: &str) -> Result<(), Error> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Client(format!("`{command}` did not restart dockerd ({}): {said}", output.status)))
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
pub(super) fn main_pid(unit: &str, is_users: bool) -> Option<Pid> {
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
        run("true").expect("it works");
        let error = run("echo no such service >&2; exit 3").expect_err("it fails").to_string();
        assert!(error.contains("no such service") && error.contains("exit status: 3"), "{error}");
    }
}
