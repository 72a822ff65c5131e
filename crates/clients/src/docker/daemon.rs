//! A dockerd that runs: it is told of changed files, restarted, and asked to pull.

use std::time::{Duration, Instant};

use super::api;
use super::find::Dockerd;
use super::info::Info;
use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::format::daemon_json::{DaemonJson, is_loopback};
use crate::journal::Journal;
use crate::mirror::Mirror;
use crate::process::{hang_up, systemctl};

/// How long dockerd may take to read its file again.
const RELOAD: Duration = Duration::from_secs(10);

impl Dockerd {
    /// Changes the files, has dockerd read them, and waits until it has the mirror.
    ///
    /// # Errors
    /// [`Error`]; everything is as it was then.
    pub fn configure(&self, journal: &mut Journal, mirror: &Mirror, plan: &[Planned]) -> Result<(), Error> {
        journal.set_host(format!("unix://{}", self.socket.display()));
        journal.apply(plan)?;
        if !plan.iter().any(|planned| planned.kind == FileKind::DaemonJson) {
            // The others are read at each pull.
            return Ok(());
        }
        self.reload(|mirrors| mirrors.iter().any(|one| mirror.is_at(one))).inspect_err(|_| {
            // Its own failure would be the same one: the files are restored in any case.
            let _ = self.undo(journal);
        })
    }

    /// Restores the files to the byte, has dockerd forget the mirror, and returns what that changed.
    ///
    /// # Errors
    /// [`Error`]; it can be tried again. Where dockerd cannot be told, its files are restored all the same.
    pub fn undo(&self, journal: &mut Journal) -> Result<Vec<Change>, Error> {
        let changes = journal.plan_undo()?;
        let mut forgotten = Ok(());
        let json = journal.record_of_kind(FileKind::DaemonJson).map(|record| record.path.clone());
        let json = changes.iter().find(|change| Some(&change.path) == json.as_ref() && !change.is_empty());
        if let Some(change) = json
            && self.running.is_ok()
        {
            let before = DaemonJson::parse(&change.path, change.wanted.as_deref())?;
            if before.mirrors(&change.path)?.is_none() {
                // Without the key dockerd keeps the mirrors that it has, so it is told of an empty list first.
                let empty = before.with_mirrors(Some(&[])).to_string();
                file::replace(&change.path, Some(&empty))?;
                forgotten = self.reload(|now| !now.iter().any(|one| is_loopback(one)));
            }
        }
        // The files come back whatever dockerd does: they are what it reads at its next start.
        journal.undo(&changes)?;
        forgotten?;
        if json.is_some() {
            self.reload(|_| true)?;
        }
        Ok(changes)
    }

    /// Has dockerd read `daemon.json` again, and waits until its mirrors are as they should be. One that does not run
    /// reads it at its start.
    fn reload(&self, as_wanted: impl Fn(&[String]) -> bool) -> Result<(), Error> {
        if self.running.is_err() {
            return Ok(());
        }
        let Some(pid) = self.pid else {
            let socket = self.socket.display();
            return Err(Error::Client(format!(
                "which process dockerd on {socket} is could not be found out; its files are right after a restart"
            )));
        };
        hang_up(pid)?;
        let end = Instant::now() + RELOAD;
        while !Info::ask(&self.socket).is_ok_and(|info| as_wanted(info.mirrors())) {
            if Instant::now() > end {
                let path = self.daemon_json.display();
                return Err(Error::Client(format!(
                    "dockerd did not take {path}; `journalctl -u docker` says why"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Restarts dockerd through systemd, which stops its containers unless it has live-restore; waits until it answers.
    ///
    /// # Errors
    /// [`Error::Client`] with what systemctl says.
    pub fn restart(&self) -> Result<(), Error> {
        systemctl(&["daemon-reload"])?;
        systemctl(&["restart", "docker"])?;
        let end = Instant::now() + RELOAD;
        while Info::ask(&self.socket).is_err() {
            if Instant::now() > end {
                let socket = self.socket.display();
                return Err(Error::Client(format!("dockerd does not answer on {socket} after its restart")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Has dockerd pull an image, and removes it again.
    ///
    /// # Errors
    /// [`Error::Client`] with what dockerd says.
    pub fn pull_and_remove(&self, repository: &str, tag: &str) -> Result<(), Error> {
        self.pull(repository, tag)
            .map_err(|why| Error::Client(format!("dockerd could not pull {repository}:{tag}: {why}")))?;
        // An image without content stays, so this is not worth an error.
        let _ = api::ask(&self.socket, "DELETE", &format!("/images/{repository}:{tag}?force=1"));
        Ok(())
    }

    /// Has dockerd pull an image; the error is what dockerd says.
    fn pull(&self, repository: &str, tag: &str) -> Result<(), String> {
        let path = format!("/images/create?fromImage={repository}&tag={tag}");
        let answer = api::ask(&self.socket, "POST", &path).map_err(|error| error.to_string())?;
        // The progress of a pull is a line of JSON for each step; an error is one of them, after the status.
        let error = answer.body.lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(line.get("error").or_else(|| line.get("message"))?.as_str()?.to_owned())
        });
        match error {
            Some(error) => Err(error),
            None if answer.status == 200 => Ok(()),
            None => Err(format!("it answered {}", answer.status)),
        }
    }
}
