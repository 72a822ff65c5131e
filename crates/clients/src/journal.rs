//! Changes made and taken back. What was before is written into a journal first, so that a crash at any moment leaves
//! files that can be taken back to the byte.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde::{Deserialize, Serialize};

use crate::{Change, Error, file};

/// Whose files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// dockerd.
    Docker,
    /// containerd.
    Containerd,
    /// BuildKit's own builders.
    Buildkit,
    /// podman, buildah and skopeo.
    Podman,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Containerd, Self::Buildkit, Self::Podman];

    /// As a user types it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Buildkit => "buildkit",
            Self::Podman => "podman",
        }
    }

    /// The programs that are meant.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Containerd => "containerd",
            Self::Buildkit => "BuildKit",
            Self::Podman => "podman, buildah and skopeo",
        }
    }
}

impl std::str::FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|client| client.name() == text);
        named.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The files of one client that hubcap has changed.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    /// Which one it is, where there can be several: dockerd's `unix:///var/run/docker.sock`.
    host: Option<String>,
    files: Vec<FileRecord>,
}

/// A file as it was, and as it was left.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FileRecord {
    path: PathBuf,
    before: Option<String>,
    after: Option<String>,
    /// Directories that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl Journal {
    /// What is known of a client's files; the journal is under hubcap's state directory.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::NotUnderstood`] when it is damaged.
    pub fn open(state: &Path, client: Client) -> Result<Self, Error> {
        let path = state.join("wiring").join(format!("{}.json", client.name()));
        let contents = match file::read(&path)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| Error::NotUnderstood { path: path.clone(), why: error.to_string() })?,
            None => Contents::default(),
        };
        Ok(Self { path, contents })
    }

    /// Whether nothing is wired.
    pub fn is_empty(&self) -> bool {
        self.contents.files.is_empty()
    }

    /// Which daemon was configured.
    pub fn host(&self) -> Option<&str> {
        self.contents.host.as_deref()
    }

    /// Remembers which daemon is configured, with the next [`apply`](Self::apply).
    pub fn set_host(&mut self, host: String) {
        self.contents.host = Some(host);
    }

    /// The files that were changed.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.contents.files.iter().map(|kept| kept.path.as_path())
    }

    /// The files that are not as hubcap left them.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when one cannot be read.
    pub fn changed_since(&self) -> Result<Vec<PathBuf>, Error> {
        let mut changed = Vec::new();
        for kept in &self.contents.files {
            if file::read(&kept.path)? != kept.after {
                changed.push(kept.path.clone());
            }
        }
        Ok(changed)
    }

    /// A file as it was before hubcap, and as hubcap left it.
    pub fn kept(&self, path: &Path) -> Option<(Option<&str>, Option<&str>)> {
        let path = file::resolved(path.to_owned());
        let kept = self.contents.files.iter().find(|kept| kept.path == path)?;
        Some((kept.before.as_deref(), kept.after.as_deref()))
    }

    /// A file without what hubcap wrote into it: what new changes start from. `None` when there is no such file.
    ///
    /// What somebody else has written since is theirs: `without` takes hubcap's part out of such a text.
    ///
    /// # Errors
    /// [`Error::Io`], and those of `without`.
    pub fn original(
        &self,
        path: &Path,
        without: impl FnOnce(String) -> Result<Option<String>, Error>,
    ) -> Result<Option<String>, Error> {
        let path = file::resolved(path.to_owned());
        let now = file::read(&path)?;
        match (self.contents.files.iter().find(|kept| kept.path == path), now) {
            (Some(kept), now) if now == kept.after => Ok(kept.before.clone()),
            (Some(kept), now) if now == kept.before => Ok(now),
            (Some(_), Some(now)) => without(now),
            (_, now) => Ok(now),
        }
    }

    /// Makes changes, whose `then` were made from the [`original`](Self::original)s. Files that were wired before and
    /// are not among them stay wired.
    ///
    /// # Errors
    /// [`Error`]; the files that were changed already are taken back.
    pub fn apply(&mut self, changes: &[(Change, Option<String>)]) -> Result<(), Error> {
        let earlier = self.contents.files.clone();
        for (change, original) in changes {
            let made = match self.contents.files.iter().position(|kept| kept.path == change.path) {
                Some(at) => self.contents.files.remove(at).made,
                None => file::missing_directories(&change.path),
            };
            if change.then != *original {
                let (before, after) = (original.clone(), change.then.clone());
                self.contents.files.push(FileRecord { path: change.path.clone(), before, after, made });
            }
        }
        self.save()?;
        for (done, (change, _)) in changes.iter().enumerate() {
            let Err(error) = file::replace(&change.path, change.then.as_deref()) else { continue };
            for (change, _) in &changes[..done] {
                file::replace(&change.path, change.now.as_deref())?;
            }
            self.contents.files = earlier;
            self.save()?;
            return Err(error);
        }
        Ok(())
    }

    /// What taking everything back would change.
    ///
    /// # Errors
    /// As [`original`](Self::original).
    pub fn plan_undo(
        &self,
        without: impl Fn(&Path, String) -> Result<Option<String>, Error>,
    ) -> Result<Vec<Change>, Error> {
        let change = |kept: &FileRecord| {
            let then = self.original(&kept.path, |now| without(&kept.path, now))?;
            Change::of(kept.path.clone(), then)
        };
        self.contents.files.iter().map(change).collect()
    }

    /// Takes everything back, and forgets it.
    ///
    /// # Errors
    /// [`Error`]; what could not be taken back is still known, so that it can be tried again.
    pub fn undo(&mut self, changes: &[Change]) -> Result<(), Error> {
        for change in changes.iter().filter(|change| !change.is_empty()) {
            file::replace(&change.path, change.then.as_deref())?;
        }
        for kept in self.contents.files.drain(..) {
            for dir in kept.made.iter().rev() {
                file::remove_empty_directory(dir);
            }
        }
        self.save()
    }

    /// Written for the owner's eyes: the files of others may have proxies' passwords in them.
    fn save(&self) -> Result<(), Error> {
        if self.contents.files.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => return Ok(()),
            }
        }
        if let Some(parent) = self.path.parent() {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let new = self.path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(serde_json::to_string_pretty(&self.contents).unwrap_or_default().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(journal: &Journal, path: &Path, then: &str) -> (Change, Option<String>) {
        let original = journal.original(path, |now| Ok(Some(now))).expect("readable");
        (Change::of(path.to_owned(), Some(then.into())).expect("readable"), original)
    }

    #[test]
    fn what_was_changed_comes_back_to_the_byte_and_what_was_made_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (dir.path().join("old"), dir.path().join("a/b/new"));
        std::fs::write(&old, " was \n").expect("written");
        let mut journal = Journal::open(dir.path(), Client::Docker).expect("a journal");
        for then in ["first", "second"] {
            let changes = [change(&journal, &old, then), change(&journal, &new, then)];
            journal.apply(&changes).expect("made");
            assert_eq!(std::fs::read_to_string(&new).expect("made"), then);
            journal = Journal::open(dir.path(), Client::Docker).expect("a journal");
        }
        let undoing = journal.plan_undo(|_, _| panic!("nobody else has written")).expect("readable");
        assert_eq!(undoing.len(), 2);
        journal.undo(&undoing).expect("undone");
        assert_eq!(std::fs::read_to_string(&old).expect("there"), " was \n");
        assert!(!dir.path().join("a").exists() && journal.is_empty());
        assert!(Journal::open(dir.path(), Client::Docker).expect("none").is_empty());
    }

    #[test]
    fn what_others_have_written_since_stays_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "theirs").expect("written");
        let mut journal = Journal::open(dir.path(), Client::Docker).expect("a journal");
        let made = [change(&journal, &path, "theirs ours")];
        journal.apply(&made).expect("made");
        std::fs::write(&path, "theirs ours, more").expect("written");
        let undoing = journal.plan_undo(|_, now| Ok(Some(now.replace(" ours", "")))).expect("readable");
        journal.undo(&undoing).expect("undone");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "theirs, more");
    }

    #[test]
    fn a_change_that_cannot_be_made_takes_the_others_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let (good, bad) = (dir.path().join("good"), dir.path().join("good/below/a/file"));
        let mut journal = Journal::open(dir.path(), Client::Docker).expect("a journal");
        let changes = [change(&journal, &good, "x"), change(&journal, &bad, "x")];
        journal.apply(&changes).expect_err("a file is no directory");
        assert!(!good.exists() && journal.is_empty());
    }
}
