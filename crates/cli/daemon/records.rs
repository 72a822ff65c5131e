//! The daemons that run on this machine: each writes a small file when it starts, and removes it when it stops. So every
//! command finds the daemon, also where it has a `--state` of its own, and also with `sudo`.
//!
//! root trusts the records in `/run/hubcap`, which only root can have made or given to a service's user, and those of the user
//! who called `sudo`. Another user's record is never read: who writes it could have root's clients pull from anywhere.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hubcap_clients::own;
use serde::{Deserialize, Serialize};

use super::client;
use crate::replace::{PUBLIC, replace};

/// The records of root's daemons, and of services.
const SYSTEM: &str = "/run/hubcap";
const ROOT: u32 = 0;

/// A daemon, as it wrote itself down. It may have been killed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Record {
    pub(crate) pid: u32,
    /// The state directory, as an absolute path.
    pub(crate) state: PathBuf,
    /// The HTTPS address.
    pub(crate) listen: Option<SocketAddr>,
}

/// This process's record; dropped, it is removed.
pub(crate) struct Written {
    path: PathBuf,
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whose records count for a command.
#[derive(Debug)]
struct Caller {
    uid: u32,
    /// Who called `sudo`.
    sudo_uid: Option<u32>,
    /// `RUNTIME_DIRECTORY`, which systemd gives a service.
    of_service: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`
    runtime: Option<PathBuf>,
}

impl Caller {
    fn of_this_process() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let sudo = || std::env::var("SUDO_UID").ok()?.parse().ok();
        let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        Self {
            uid,
            // Only root can have been given it by sudo.
            sudo_uid: if uid == ROOT { sudo() } else { None },
            of_service: directory("RUNTIME_DIRECTORY"),
            runtime: directory("XDG_RUNTIME_DIR"),
        }
    }

    /// Where this user's daemon writes its record: the first of these that can be used.
    fn own(&self) -> Vec<PathBuf> {
        let of_session = self.runtime.iter().map(|dir| dir.join("hubcap"));
        let mut dirs: Vec<PathBuf> = self.of_service.iter().cloned().chain(of_session).collect();
        if self.uid == ROOT {
            dirs.push(SYSTEM.into());
        }
        dirs.extend(of_user(self.uid));
        dirs
    }

    /// Where the records are that count.
    fn trusted(&self) -> Vec<PathBuf> {
        let mut dirs = self.own();
        dirs.push(SYSTEM.into());
        dirs.extend(self.sudo_uid.into_iter().flat_map(of_user));
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Whether nobody can write into a directory but root, whom root gave it to, this user, and who called `sudo`.
    fn trusts(&self, dir: &Path) -> bool {
        let owners = [Some(ROOT), Some(self.uid), self.sudo_uid];
        std::fs::symlink_metadata(dir).is_ok_and(|metadata| {
            let is_owned = dir == Path::new(SYSTEM) || owners.contains(&Some(metadata.uid()));
            metadata.is_dir() && is_owned && metadata.mode() & 0o022 == 0
        })
    }
}

/// A user's directories. The second is for one who has no session, as in a container.
fn of_user(uid: u32) -> [PathBuf; 2] {
    [format!("/run/user/{uid}/hubcap").into(), format!("/tmp/hubcap-{uid}").into()]
}

/// Writes this process's record. The daemon serves without it too; then its commands need its `--state`.
pub(crate) fn write(state: &Path, listen: Option<SocketAddr>) -> Option<Written> {
    let record = Record { pid: std::process::id(), state: state.to_owned(), listen };
    let caller = Caller::of_this_process();
    for dir in caller.own() {
        match write_into(&dir, &caller, &record) {
            Ok(written) => return Some(written),
            Err(error) => {
                tracing::debug!(target: "hubcap::serve", "no record of this daemon there: {error:#}")
            }
        }
    }
    tracing::info!(target: "hubcap::serve", "hubcap's commands find this daemon only with --state {}", state.display());
    None
}

fn write_into(dir: &Path, caller: &Caller, record: &Record) -> anyhow::Result<Written> {
    let parent = dir.parent().filter(|parent| parent.is_dir());
    parent.with_context(|| format!("{} has no directory above it", dir.display()))?;
    let mode = if dir == Path::new(SYSTEM) { 0o755 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    anyhow::ensure!(caller.trusts(dir), "others can write into {}", dir.display());
    for (path, other) in read_dir(dir) {
        if is_gone(&other) {
            let _ = std::fs::remove_file(path);
        }
    }
    let path = dir.join(format!("{}.json", record.pid));
    replace(&path, PUBLIC, |mut file| Ok(file.write_all(&serde_json::to_vec_pretty(record)?)?))?;
    Ok(Written { path })
}

/// The records of all daemons that this user may use or know of.
pub(crate) fn all() -> Vec<Record> {
    let caller = Caller::of_this_process();
    let dirs = caller.trusted().into_iter().filter(|dir| caller.trusts(dir));
    dirs.flat_map(|dir| read_dir(&dir)).map(|(_, record)| record).collect()
}

fn read_dir(dir: &Path) -> Vec<(PathBuf, Record)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| {
        let record = serde_json::from_slice(&own(&path).ok()?.0).ok()?;
        Some((path, record))
    };
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(read)
        .collect()
}

/// Whether a record's daemon was killed: nobody answers on its socket.
fn is_gone(record: &Record) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    client::connect(&record.state).is_err_and(|error| matches!(error.kind(), ConnectionRefused | NotFound))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn caller(uid: u32, sudo_uid: Option<u32>) -> Caller {
        Caller { uid, sudo_uid, of_service: None, runtime: None }
    }

    #[test]
    fn root_reads_the_machines_records_and_those_of_who_called_sudo() {
        let text = |caller: Caller| {
            caller.trusted().iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(caller(0, None)), "/run/hubcap /run/user/0/hubcap /tmp/hubcap-0");
        assert_eq!(
            text(caller(0, Some(1000))),
            "/run/hubcap /run/user/0/hubcap /run/user/1000/hubcap /tmp/hubcap-0 /tmp/hubcap-1000"
        );
        assert_eq!(text(caller(1000, None)), "/run/hubcap /run/user/1000/hubcap /tmp/hubcap-1000");
    }

    #[test]
    fn a_directory_that_others_can_write_into_does_not_count() {
        let place = tempfile::tempdir().expect("a directory");
        let (uid, dir) = (rustix::process::geteuid().as_raw(), place.path().join("hubcap"));
        std::fs::create_dir(&dir).expect("made");
        for (mode, trusted) in [(0o700, true), (0o755, true), (0o777, false), (0o770, false)] {
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(caller(uid, None).trusts(&dir), trusted, "{mode:o}");
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).expect("changed");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).expect("linked");
        assert!(!caller(uid, None).trusts(&link));
    }

    #[test]
    fn a_record_goes_with_its_daemon_and_takes_those_of_killed_ones_along() {
        let place = tempfile::tempdir().expect("a directory");
        let (caller, dir) = (caller(rustix::process::geteuid().as_raw(), None), place.path().join("hubcap"));
        let record = |pid| Record { pid, state: place.path().join("state"), listen: None };
        let killed = write_into(&dir, &caller, &record(1)).expect("written");
        let written = write_into(&dir, &caller, &record(2)).expect("written");
        let found: Vec<Record> = read_dir(&dir).into_iter().map(|(_, record)| record).collect();
        assert_eq!(found, [record(2)]);
        drop((killed, written));
        assert!(read_dir(&dir).is_empty());
    }
}
