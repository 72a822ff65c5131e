//! How dockerd is restarted. It reads its proxy, and which image store it has, only when it starts.

use super::find::Dockerd;
use super::info::Info;
use super::proxy::{self, Proxy};
use crate::error::Error;
use crate::journal::Journal;
use crate::restart::{Daemon, How, Restart, main_pid};
use crate::spawned::Spawned;

/// The unit of Docker's packages.
const UNIT: &str = "docker.service";

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
        How::systemd(pid)
    }

    /// Restarts it, and waits until it answers. Its containers stop unless it has live-restore. Of the journal it is known which
    /// environment a dockerd before 23 is to have.
    ///
    /// # Errors
    /// [`Error::Client`] when it does not stop or does not come back, with where its log is.
    pub fn restart(&self, restart: &Restart, journal: &Journal) -> Result<(), Error> {
        let without: &[&str] = match restart {
            Restart(How::Process(spawned)) if spawned.has("NO_PROXY", proxy::WITHOUT) => {
                &["HTTPS_PROXY", "NO_PROXY"]
            }
            _ => &[],
        };
        restart.run(&Daemon {
            name: "dockerd",
            socket: &self.socket,
            environment: &Proxy::environment(journal),
            without,
            answers: &|| Info::ask(&self.socket).is_ok(),
        })
    }
}
