//! The containerd that unpacks, given hubcap's differ: its configuration imports a file of hubcap's, by a pattern that matches
//! nothing when that is gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Pid;

use super::facts::{self, Feature};
use super::find::parse_version;
use super::imports::Files;
use crate::change::Plan;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::containerd_toml::{self, Lasting};
use crate::journal::Journal;
use crate::process::{arguments, flag, is_trusted, maker, name, parent};
use crate::restart::{Daemon, How, Restart, main_pid};
use crate::spawned::Spawned;
use crate::version::{self, Version};
use crate::{peer, sudo};

/// The socket of the machine's containerd, and its unit.
const SOCKET: &str = "/run/containerd/containerd.sock";
const UNIT: &str = "containerd.service";

/// A containerd that runs.
#[derive(Debug)]
pub struct Unpacker {
    socket: PathBuf,
    pid: Pid,
    config: PathBuf,
}

impl Unpacker {
    /// Finds the one on this socket; `None` where none runs.
    ///
    /// # Errors
    /// [`Error::Client`] with the reason why it cannot be given a differ.
    pub fn find(socket: &Path) -> Result<Option<Self>, Error> {
        let Some(pid) = pid(socket)? else { return Ok(None) };
        if parent(pid).and_then(name).is_some_and(|name| name == "dockerd") {
            return Err(Error::Client(
                "dockerd has started its containerd itself, and writes that one's configuration anew each time. With a containerd \
                 of the machine (/run/containerd/containerd.sock), or one given by --containerd, it can be given a differ"
                    .into(),
            ));
        }
        for namespace in ["mnt", "user"] {
            if of_process(pid, namespace)? != std::fs::read_link(format!("/proc/self/ns/{namespace}"))? {
                return Err(Error::Client(format!(
                    "containerd is in a namespace of its own ({namespace}), as a rootless one is"
                )));
            }
        }
        if !is_trusted(pid) {
            let socket = socket.display();
            return Err(Error::Client(format!("containerd on {socket} is another user's process")));
        }
        let arguments = arguments(pid);
        let config = ["--config", "-c"].into_iter().find_map(|name| flag(&arguments, name));
        let config = PathBuf::from(config.unwrap_or(facts::CONFIG));
        if !config.is_absolute() {
            return Err(Error::Client(format!(
                "containerd was started with the configuration {}, which is not absolute",
                config.display()
            )));
        }
        Ok(Some(Self { socket: socket.to_owned(), pid, config }))
    }

    /// Finds the machine's own.
    ///
    /// # Errors
    /// As [`find`](Self::find), and when none runs, or it is too old.
    pub fn of_machine() -> Result<Self, Error> {
        let found = Self::find(Path::new(SOCKET))?;
        let found = found.ok_or_else(|| Error::Client(format!("no containerd answers on {SOCKET}")))?;
        refuse_without_differs(found.version())?;
        Ok(found)
    }

    /// Where it answers.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What gives it the differ.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a configuration that hubcap's part cannot be merged with; [`Error::Io`] and
    /// [`Error::Rights`] when it cannot be read.
    pub fn plan(&self, journal: &Journal, lasting: Lasting) -> Result<Plan, Error> {
        let config = journal.plan(self.config.clone(), FileKind::ContainerdToml, |original| {
            containerd_toml::with_import(&self.config, original, lasting).map(Some)
        })?;
        let files = Files::read(&self.config, config.original.as_deref())?;
        let drop_in = journal.plan(lasting.drop_in().into(), FileKind::Own, |_| {
            containerd_toml::drop_in(&files.before, &files.after).map(Some)
        })?;
        Ok(vec![drop_in, config])
    }

    /// Of the program that runs.
    pub(super) fn version(&self) -> Option<Version> {
        let program = format!("/proc/{}/exe", self.pid.as_raw_nonzero());
        let output = sudo::command(program).arg("--version").stdin(Stdio::null()).output().ok()?;
        parse_version(&String::from_utf8_lossy(&output.stdout))
    }

    /// How it can be restarted; with `command` the user says it.
    ///
    /// # Errors
    /// [`Error::Client`] with the reason, and what the user can give.
    pub fn how_to_restart(&self, command: Option<&str>) -> Result<Restart, Error> {
        if let Some(command) = command {
            return Ok(Restart(How::Command(command.to_owned())));
        }
        if let Some(how) = How::systemd(self.pid) {
            return Ok(Restart(how));
        }
        let unknown = |why: String| {
            Error::Client(format!(
                "how containerd on {} is restarted is not known: {why}. Say it: --restart-containerd 'service containerd restart'",
                self.socket.display()
            ))
        };
        Spawned::of(self.pid).map(|spawned| Restart(How::Process(Box::new(spawned)))).map_err(unknown)
    }

    /// Restarts it, and waits until it answers. Containers go on, and dockerd connects to it again.
    ///
    /// # Errors
    /// [`Error::Client`] when it does not stop or does not come back.
    pub fn restart(&self, restart: &Restart) -> Result<(), Error> {
        let answers = || match peer::connect(peer::ACCEPTS, &self.socket) {
            Ok(_) => true,
            // Another user's: then systemd has waited for it.
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        restart.run(&Daemon {
            name: "containerd",
            socket: &self.socket,
            environment: &[],
            without: &[],
            answers: &answers,
        })
    }
}

/// Refuses a containerd that cannot have a differ of another process.
///
/// # Errors
/// [`Error::Client`] with the version.
pub(crate) fn refuse_without_differs(version: Option<Version>) -> Result<(), Error> {
    if version::has(&facts::FACTS, &Feature::Differs, version) {
        return Ok(());
    }
    let found = version.map_or("of a version that is not known".into(), |version| version.to_string());
    Err(Error::Client(format!(
        "containerd {found} cannot have a differ of another process; 1.7.4 and later can"
    )))
}

/// The process that answers on a socket. Who is not root may not ask there, and knows the machine's own by its unit.
fn pid(socket: &Path) -> Result<Option<Pid>, Error> {
    let denied =
        peer::connect(peer::ACCEPTS, socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    if !denied {
        return Ok(maker(socket));
    }
    if socket != Path::new(SOCKET) {
        return Err(Error::Client(format!(
            "which process containerd on {} is can be found out by root alone",
            socket.display()
        )));
    }
    Ok(main_pid(UNIT, false))
}

/// A namespace of a process, as root where it is another user's.
fn of_process(pid: Pid, namespace: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(format!("/proc/{}/ns/{namespace}", pid.as_raw_nonzero()));
    match std::fs::read_link(&path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let output = sudo::run(&path, "readlink -- \"$1\"", None)?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().into())
        }
        link => Ok(link?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_releases_of_1_7_are_refused_with_their_version() {
        for version in [Version::new(1, 6).patch(20), Version::new(1, 7), Version::new(1, 7).patch(3)] {
            let error = refuse_without_differs(Some(version)).expect_err("too old").to_string();
            assert!(error.contains(&format!("containerd {version} cannot")), "{error}");
        }
        for version in [Version::new(1, 7).patch(4), Version::new(2, 0), Version::new(2, 1).patch(9)] {
            refuse_without_differs(Some(version)).expect("it can");
        }
        assert!(refuse_without_differs(None).is_err());
    }
}
