//! A dockerd that runs: it is told of changed files, and asked to pull.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::system::uname;

use super::api;
use super::find::Dockerd;
use super::info::Info;
use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::format::daemon_json::{DaemonJson, is_same};
use crate::journal::{Applied, Journal, Undoing};
use crate::mirror::Mirror;
use crate::paths;
use crate::process::hang_up;
use crate::restart::Restart;

/// How long dockerd may take to read its file again.
const RELOAD: Duration = Duration::from_secs(10);
/// Docker and podman make one of these files in each container.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

impl Dockerd {
    /// Changes the files, has dockerd read them, and waits until it has the mirror. With `restart` it is restarted, for what
    /// it reads only when it starts.
    ///
    /// # Errors
    /// [`Error`]; everything is as it was before, an earlier `setup` with it.
    pub fn configure(
        &self,
        journal: &mut Journal,
        (mirror, plan): (&Mirror, &[Planned]),
        restart: Option<&Restart>,
    ) -> Result<Applied, Error> {
        self.check_reach()?;
        journal.set_host(self.host());
        let applied = journal.apply(plan)?;
        let has_mirrors = plan.iter().any(|planned| planned.kind == FileKind::DaemonJson);
        let done = match restart {
            Some(restart) => self.restart(restart, journal),
            // The others are read at each pull.
            None if !has_mirrors => Ok(()),
            None => self.reload(|mirrors| mirrors.iter().any(|one| mirror.is_at(one))),
        };
        let Err(error) = done else { return Ok(applied) };
        let back = self.go_back(journal, applied);
        let again = restart.map_or(Ok(()), |restart| back.and_then(|()| self.restart(restart, journal)));
        Err(match (restart, again) {
            (None, _) => error,
            (Some(_), Ok(())) => {
                Error::Client(format!("{error}. Its files are as they were, and it runs with them again"))
            }
            (Some(_), Err(again)) => Error::Client(format!(
                "{error}. Its files are as they were, and it does not run with them: {again}"
            )),
        })
    }

    /// A container that was given dockerd's socket has other files than dockerd, unless the user says where they are.
    fn check_reach(&self) -> Result<(), Error> {
        let Ok(info) = &self.running else { return Ok(()) };
        let is_container = CONTAINER_MARKS.iter().any(|mark| Path::new(mark).exists());
        let is_here = uname().nodename().to_bytes() == info.name.as_bytes();
        if !is_container || is_here || self.is_file_given {
            return Ok(());
        }
        Err(Error::Client(format!(
            "this is a container, and dockerd on {} runs on the machine around it ({}), whose files cannot be changed from here. Run \
             hubcap on that machine, in a job without `container:`",
            self.socket.display(),
            info.name
        )))
    }

    /// Makes its files what they were before these changes, and has dockerd read them.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be restored. Where dockerd cannot be told, its files are restored all the same.
    pub fn go_back(&self, journal: &mut Journal, applied: Applied) -> Result<(), Error> {
        let changes: Vec<Change> = applied.back().collect();
        let forgotten = self.forget_mirrors(&changes);
        journal.go_back(applied)?;
        // Its own failure is why we go back, or comes to light at its next start.
        if forgotten.is_ok_and(|forgot| forgot) {
            let _ = self.reload(|_| true);
        }
        Ok(())
    }

    /// Restores its files to the byte, has it forget the mirror, and returns what that changed.
    ///
    /// # Errors
    /// [`Error`] of the first file that cannot be restored; the others are, and it can be tried again. Where dockerd cannot
    /// be told, its files are restored all the same.
    pub fn undo(&self, journal: &mut Journal) -> Result<Vec<Change>, Error> {
        let host = self.host();
        let Undoing { changes, failed } = journal.plan_undo_of(|one| one.is_none_or(|one| one == host));
        let told = self.forget_mirrors(&changes);
        // The files come back whatever dockerd does: they are what it reads at its next start.
        journal.undo(&changes)?;
        if told? {
            self.reload(|_| true)?;
        }
        failed.map_or(Ok(changes), Err)
    }

    /// Has dockerd forget the mirrors that these changes take out of `daemon.json`. Without the key dockerd keeps the mirrors
    /// that it has, so it is told of the list that it is to have first. Whether it has to read the file once more.
    fn forget_mirrors(&self, changes: &[Change]) -> Result<bool, Error> {
        let json = paths::resolved(self.daemon_json.clone());
        let change = changes.iter().find(|change| change.path == json && !change.is_empty());
        let Some(change) = change.filter(|_| self.running.is_ok()) else { return Ok(false) };
        let wanted = DaemonJson::parse(&change.path, change.wanted.as_deref())?;
        let mirrors = wanted.mirrors(&change.path)?.unwrap_or_default();
        let without = wanted.with_mirrors(Some(&mirrors)).to_string();
        file::replace(&change.path, Some(&without))?;
        self.reload(|now| are_all_in(now, &mirrors) && are_all_in(&mirrors, now))?;
        Ok(true)
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

/// Whether each of these mirrors is in the other list.
fn are_all_in(these: &[String], list: &[String]) -> bool {
    these.iter().all(|one| list.iter().any(|other| is_same(one, other)))
}
