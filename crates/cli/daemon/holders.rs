//! The holders: who needs the daemon, and which clients' files. `STATE/holders.json` lists them.
//!
//! Each `up` and each `setup` is a holder. A daemon that several share ends with the last of them, and a client's files are
//! restored when no holder needs them any more. A holder that ended without a word (a killed job) is dropped.
//!
//! - [`who`]: who this process is. [`life`]: how the end of a holder is noticed.

mod life;
mod who;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_clients::{Cluster, Journal, Nodes, own, trusts};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::replace::{PRIVATE, replace};
use crate::show::strangers::say;
use life::Life;
pub(crate) use who::Who;

/// The lock's name in the state directory.
const LOCK: &str = "holders.lock";

/// How long another command may hold it: an honest `down` waits for a restore, for what is saved and for the daemon's end.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The holders of a state directory. While this value lives, no other process changes them.
pub(crate) struct Holders {
    state: PathBuf,
    holders: Vec<Holder>,
    /// The lock; `None` when there is no state directory, and nothing to lock.
    _lock: Option<File>,
}

/// One that needs the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Holder {
    pub(crate) who: Who,
    /// The clients whose files it needs, by name.
    clients: BTreeSet<String>,
    life: Life,
}

impl Holders {
    /// Reads and locks the holders, and waits for another `up`, `down` or `setup` to end. Drops those that have ended.
    ///
    /// # Errors
    /// When the state directory is another user's, or the file is damaged.
    pub(crate) fn open(state: &Path) -> anyhow::Result<Self> {
        Self::open_with(state, read)
    }

    /// As [`open`](Self::open), with no holders, whatever the file says.
    ///
    /// # Errors
    /// When the state directory is another user's.
    pub(crate) fn open_without_any(state: &Path) -> anyhow::Result<Self> {
        Self::open_with(state, |_| Ok(Vec::new()))
    }

    fn open_with(
        state: &Path,
        read: impl FnOnce(&Path) -> anyhow::Result<Vec<Holder>>,
    ) -> anyhow::Result<Self> {
        if !state.exists() {
            return Ok(Self { state: state.to_owned(), holders: Vec::new(), _lock: None });
        }
        let lock = lock(state)?;
        let mut holders = read(state)?;
        holders.retain(|holder| {
            let ended = holder.ended(state);
            if let Some(why) = &ended {
                say!("{} no longer needs hubcap: {why}", holder.who);
            }
            ended.is_none()
        });
        Ok(Self { state: state.to_owned(), holders, _lock: Some(lock) })
    }

    /// As [`open`](Self::open), and makes the state directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_to_hold(state: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(|| state.display().to_string())?;
        Self::open(state)
    }

    /// Has `who` hold the daemon, and a client's files. It goes on to hold what it held.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn hold(&mut self, who: &Who, client: Option<&str>) -> anyhow::Result<()> {
        let mut clients = self.release(who).map(|holder| holder.clients).unwrap_or_default();
        clients.extend(client.map(str::to_owned));
        self.holders.push(Holder { who: who.clone(), clients, life: Life::of_this_process(who) });
        self.save()
    }

    /// Removes a holder, without writing the file.
    pub(crate) fn release(&mut self, who: &Who) -> Option<Holder> {
        let at = self.holders.iter().position(|holder| holder.who == *who)?;
        Some(self.holders.remove(at))
    }

    /// Has `who` no longer hold a client's files, without writing the file.
    pub(crate) fn release_client(&mut self, who: &Who, client: &str) {
        for holder in self.holders.iter_mut().filter(|holder| holder.who == *who) {
            holder.clients.remove(client);
        }
    }

    /// The holders that need a client's files.
    pub(crate) fn of_client(&self, client: &str) -> Vec<&Who> {
        let needing = self.holders.iter().filter(|holder| holder.clients.contains(client));
        needing.map(|holder| &holder.who).collect()
    }

    /// Every holder.
    pub(crate) fn all(&self) -> Vec<&Who> {
        self.holders.iter().map(|holder| &holder.who).collect()
    }

    /// Writes the file. No holders are no file.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let path = path(&self.state);
        if self.holders.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| path.display().to_string())
                }
                _ => Ok(()),
            };
        }
        let owner = std::fs::metadata(&self.state).with_context(|| self.state.display().to_string())?;
        replace(&path, PRIVATE, |mut file| {
            file.write_all(&serde_json::to_vec_pretty(&self.holders)?)?;
            give(file, &owner);
            Ok(())
        })
    }
}

impl Holder {
    /// Why it needs nothing any more; `None` while it does.
    fn ended(&self, state: &Path) -> Option<String> {
        match &self.who {
            // Its files were restored in another way, or went with the nodes that they were in.
            Who::Setup(client) => match Cluster::named(client) {
                Some(cluster) => Nodes::open(state, cluster).ok()?.ended().map(str::to_owned),
                None => Journal::open(state, client)
                    .is_ok_and(|journal| journal.is_empty())
                    .then(|| "its files are as they were".to_owned()),
            },
            _ => self.life.ended(),
        }
    }
}

/// Several names in a sentence.
pub(crate) fn sentence(holders: &[&Who]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn path(state: &Path) -> PathBuf {
    state.join("holders.json")
}

fn read(state: &Path) -> anyhow::Result<Vec<Holder>> {
    let path = path(state);
    match own(&path) {
        Ok((bytes, _)) => serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} does not say who needs hubcap; `hubcap down --force` ends it for all, and removes the file",
                path.display()
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Waits for the lock of a state directory. The directory may be another user's, who could put anything in the lock's place: root
/// would open the file where a link leads, and give it away.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join(LOCK);
    let named = || path.display().to_string();
    // Looked up once: nobody puts another directory in its place.
    let directory = open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = File::from(directory.with_context(|| state.display().to_string())?);
    let owner = directory.metadata().with_context(|| state.display().to_string())?;
    // A pipe that nobody reads would keep the caller waiting.
    let itself = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |more| openat(&directory, LOCK, itself | more, Mode::RUSR | Mode::WUSR).map(File::from);
    let file = match open(OFlags::CREATE | OFlags::EXCL) {
        Ok(made) => {
            give(&made, &owner);
            made
        }
        Err(Errno::EXIST) => match open(OFlags::empty()) {
            Ok(file) if is_lock(&file, &owner) => {
                // Earlier ones could be locked by whoever may read them.
                let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
                file
            }
            Err(Errno::ACCESS) => bail!("{}", of_another(state, &owner)),
            Ok(_) | Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => bail!(
                "{} is not the lock that hubcap has made there: look who has put it there, and remove it",
                path.display()
            ),
            Err(error) => return Err(error).with_context(named),
        },
        Err(Errno::ACCESS) => bail!("{}", of_another(state, &owner)),
        Err(error) => return Err(error).with_context(named),
    };
    let begun = Instant::now();
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::Error(error) => return Err(error).with_context(named),
            TryLockError::WouldBlock if begun.elapsed() >= PATIENCE => bail!(
                "{} has been locked for {} s: another `hubcap up`, `down` or `setup` hangs, or a process that is none of hubcap's has locked it",
                path.display(),
                PATIENCE.as_secs()
            ),
            TryLockError::WouldBlock => std::thread::sleep(LOOK),
        }
    }
    Ok(file)
}

/// Whether a file is the lock itself, by no other name: a second name could be that of another file.
fn is_lock(file: &File, directory: &Metadata) -> bool {
    file.metadata().is_ok_and(|found| {
        let is_ours = found.uid() == directory.uid() || trusts(found.uid());
        found.is_file() && found.nlink() == 1 && is_ours
    })
}

fn of_another(state: &Path, owner: &Metadata) -> String {
    format!(
        "the state directory {} belongs to the user {}, and this is the user {}: run hubcap as that user, or choose another \
         --state",
        state.display(),
        owner.uid(),
        geteuid().as_raw()
    )
}

/// Gives a file that was made just now to the owner of the state directory: root configures clients for a daemon of another user, which must
/// still read the file then. Nobody but root can do that, or needs to.
fn give(file: &File, owner: &Metadata) {
    let _ = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn what_is_in_the_place_of_a_lock_is_refused_and_where_it_leads_nothing_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (state, theirs) = (dir.path().join("state"), dir.path().join("theirs"));
        std::fs::write(&theirs, "theirs").expect("written");
        let before = theirs.metadata().expect("there");
        let places: [fn(&Path, &Path); 4] = [
            |theirs, lock| symlink(theirs, lock).expect("linked"),
            |_, lock| symlink("../new", lock).expect("linked"),
            |theirs, lock| std::fs::hard_link(theirs, lock).expect("linked"),
            |_, lock| mknodat(CWD, lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe"),
        ];
        for (number, put) in places.into_iter().enumerate() {
            std::fs::create_dir(&state).expect("made");
            put(&theirs, &state.join(LOCK));
            if geteuid().is_root() {
                chown(&state, Some(65_534), Some(65_534)).expect("given away");
            }
            let error = Holders::open(&state).err().expect("refused").to_string();
            assert!(error.contains("holders.lock is not the lock"), "{number}: {error}");
            let after = theirs.metadata().expect("there");
            assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()), "{number}");
            assert!(!dir.path().join("new").exists(), "{number}");
            std::fs::remove_dir_all(&state).expect("removed");
        }
    }

    #[test]
    fn holders_are_read_from_no_pipe_and_no_device() {
        let state = tempfile::tempdir().expect("a directory");
        let places: [fn(&Path); 2] = [
            |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe"),
            |path| symlink("/dev/zero", path).expect("linked"),
        ];
        for put in places {
            put(&path(state.path()));
            let error = format!("{:#}", Holders::open(state.path()).err().expect("refused"));
            assert!(error.contains("holders.json"), "{error}");
            std::fs::remove_file(path(state.path())).expect("removed");
        }
    }

    #[test]
    fn a_lock_that_root_makes_is_of_the_state_directorys_owner() {
        if !geteuid().is_root() {
            return;
        }
        let state = tempfile::tempdir().expect("a directory");
        chown(state.path(), Some(65_534), Some(65_534)).expect("given away");
        for _ in 0..2 {
            Holders::open(state.path()).expect("opened");
            assert_eq!(state.path().join(LOCK).metadata().expect("there").uid(), 65_534);
        }
    }

    fn job(name: &str) -> Who {
        Who::Named(name.into())
    }

    #[test]
    fn a_client_is_free_when_its_last_holder_has_gone() {
        let state = tempfile::tempdir().expect("a directory");
        for name in ["a", "b"] {
            let mut holders = Holders::open(state.path()).expect("opened");
            holders.hold(&job(name), None).expect("written");
            holders.hold(&job(name), Some("docker")).expect("written");
        }
        let mut holders = Holders::open(state.path()).expect("opened");
        assert_eq!(holders.of_client("docker"), [&job("a"), &job("b")]);
        assert!(holders.of_client("podman").is_empty());
        assert!(holders.release(&job("a")).is_some() && holders.release(&job("a")).is_none());
        assert_eq!(holders.of_client("docker"), [&job("b")]);
        holders.release_client(&job("b"), "docker");
        assert!(holders.of_client("docker").is_empty());
        assert_eq!(holders.all(), [&job("b")]);
        holders.release(&job("b"));
        holders.save().expect("written");
        assert!(!path(state.path()).exists());
    }

    #[test]
    fn a_setup_whose_files_were_restored_holds_nothing() {
        let state = tempfile::tempdir().expect("a directory");
        let mut holders = Holders::open(state.path()).expect("opened");
        holders.hold(&Who::Setup("docker".into()), Some("docker")).expect("written");
        drop(holders);
        assert!(Holders::open(state.path()).expect("opened").all().is_empty());
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out() {
        let state = tempfile::tempdir().expect("a directory");
        std::fs::write(path(state.path()), "[").expect("written");
        let error = format!("{:#}", Holders::open(state.path()).err().expect("damaged"));
        assert!(error.contains("holders.json") && error.contains("--force"), "{error}");
        assert!(Holders::open_without_any(state.path()).is_ok());
    }

    #[test]
    fn without_a_state_directory_there_are_no_holders_and_none_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state");
        assert!(Holders::open(&state).expect("nothing").all().is_empty());
        assert!(!state.exists());
    }
}
