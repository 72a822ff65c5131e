//! The journal: what was in a client's files before hubcap, and what hubcap wrote. It is written before the first file is
//! changed, so after a crash at any moment the files can be restored to the byte.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;

/// The journal is for its owner's eyes: proxies' passwords may be in the files of others.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The files of one client that hubcap has changed.
#[derive(Debug)]
pub struct Journal {
    client: String,
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    /// Which one it is, where there can be several: dockerd's `unix:///var/run/docker.sock`.
    host: Option<String>,
    files: Vec<FileRecord>,
}

/// A file as it was, and as hubcap left it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub(crate) path: PathBuf,
    /// `None` in a journal of an earlier hubcap.
    kind: Option<FileKind>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// Directories that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl Journal {
    /// Reads a client's journal, `STATE/wiring/CLIENT.json`. No such file is an empty journal.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::NotUnderstood`] when it is damaged.
    pub fn open(state: &Path, client: &str) -> Result<Self, Error> {
        let path = state.join("wiring").join(format!("{client}.json"));
        let contents = match file::read(&path)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| Error::not_understood(&path, error.to_string()))?,
            None => Contents::default(),
        };
        Ok(Self { client: client.to_owned(), path, contents })
    }

    /// Whether hubcap has changed no file of this client.
    pub fn is_empty(&self) -> bool {
        self.contents.files.is_empty()
    }

    /// Which daemon was configured, as `unix:///var/run/docker.sock`.
    pub fn host(&self) -> Option<&str> {
        self.contents.host.as_deref()
    }

    /// Remembers which daemon is configured, with the next [`apply`](Self::apply).
    pub(crate) fn set_host(&mut self, host: String) {
        self.contents.host = Some(host);
    }

    /// What is known of the file of this kind.
    pub(crate) fn record_of_kind(&self, kind: FileKind) -> Option<&FileRecord> {
        self.contents.files.iter().find(|record| self.kind(record) == kind)
    }

    /// The files that are not as hubcap left them.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when one cannot be read.
    pub fn changed_since(&self) -> Result<Vec<PathBuf>, Error> {
        let mut changed = Vec::new();
        for record in &self.contents.files {
            if file::read(&record.path)? != record.after {
                changed.push(record.path.clone());
            }
        }
        Ok(changed)
    }

    /// What is known of a file.
    pub(crate) fn record(&self, path: &Path) -> Option<&FileRecord> {
        let path = file::resolved(path.to_owned());
        self.contents.files.iter().find(|record| record.path == path)
    }

    /// Plans a file's new text, which `edit` makes from the text without hubcap's part. `None` is no file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when the file cannot be read, [`Error::NotUnderstood`] when hubcap's part
    /// cannot be taken out of it, and the errors of `edit`.
    pub(crate) fn plan(
        &self,
        path: PathBuf,
        kind: FileKind,
        edit: impl FnOnce(Option<&str>) -> Result<Option<String>, Error>,
    ) -> Result<Planned, Error> {
        let original = self.original(&path, kind)?.and_then(|text| kind.without_marked(text));
        let wanted = edit(original.as_deref())?;
        Ok(Planned { change: Change::of(path, wanted)?, original, kind })
    }

    /// A file without what hubcap wrote into it: what new changes start from. `None` when there is no such file.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(crate) fn original(&self, path: &Path, kind: FileKind) -> Result<Option<String>, Error> {
        let path = file::resolved(path.to_owned());
        let now = file::read(&path)?;
        let Some(record) = self.contents.files.iter().find(|record| record.path == path) else {
            return Ok(now);
        };
        if now == record.after {
            return Ok(record.before.clone());
        }
        match now {
            // What someone else has written since is theirs.
            Some(now) if Some(&now) != record.before.as_ref() => {
                kind.without_ours(&path, record.before.as_deref(), record.after.as_deref(), now)
            }
            now => Ok(now),
        }
    }

    /// Applies planned changes. Files that were changed before and are not among them stay in the journal.
    ///
    /// # Errors
    /// [`Error`]; the files that were changed already are restored.
    pub fn apply(&mut self, plan: &[Planned]) -> Result<(), Error> {
        let earlier = self.contents.files.clone();
        let new = plan.iter().flat_map(|planned| file::missing_directories(&planned.change.path)).collect();
        for Planned { change, original, kind } in plan {
            let made = match self.contents.files.iter().position(|record| record.path == change.path) {
                Some(at) => self.contents.files.remove(at).made,
                None => file::missing_directories(&change.path),
            };
            if change.wanted != *original {
                self.contents.files.push(FileRecord {
                    path: change.path.clone(),
                    kind: Some(*kind),
                    before: original.clone(),
                    after: change.wanted.clone(),
                    made,
                });
            }
        }
        self.save()?;
        for (done, planned) in plan.iter().enumerate() {
            let change = &planned.change;
            let Err(error) = file::replace(&change.path, change.wanted.as_deref()) else { continue };
            for Planned { change, .. } in &plan[..done] {
                file::replace(&change.path, change.current.as_deref())?;
            }
            remove_directories(new);
            self.contents.files = earlier;
            self.save()?;
            return Err(error);
        }
        Ok(())
    }

    /// What undoing everything would change.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_undo(&self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for record in &self.contents.files {
            let original = self.original(&record.path, self.kind(record))?;
            changes.push(Change::of(record.path.clone(), original)?);
        }
        Ok(changes)
    }

    /// Restores the files, and forgets them.
    ///
    /// # Errors
    /// [`Error`]; what could not be restored is still known, so it can be tried again.
    pub fn undo(&mut self, changes: &[Change]) -> Result<(), Error> {
        for change in changes.iter().filter(|change| !change.is_empty()) {
            file::replace(&change.path, change.wanted.as_deref())?;
        }
        let made = self.contents.files.drain(..).flat_map(|record| record.made);
        remove_directories(made.collect());
        self.save()
    }

    fn kind(&self, record: &FileRecord) -> FileKind {
        record.kind.unwrap_or_else(|| FileKind::of_older_journal(&self.client, &record.path))
    }

    /// Writes the journal; an empty one is no file.
    fn save(&self) -> Result<(), Error> {
        if self.contents.files.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(file::named(&self.path, &error))
                }
                _ => Ok(()),
            };
        }
        if let Some(parent) = self.path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
        }
        let text = serde_json::to_string_pretty(&self.contents).unwrap_or_default();
        file::write(&self.path, &text, MODE).map_err(|error| file::named(&self.path, &error))
    }
}

/// Removes directories that hubcap made and that are empty, the innermost first: a file that was configured later may be in
/// a directory that an earlier one needed.
fn remove_directories(mut made: Vec<PathBuf>) {
    made.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    for dir in made {
        file::remove_empty_directory(&dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(journal: &Journal, path: &Path, wanted: &str) -> Planned {
        let kind = FileKind::Certificate;
        journal.plan(path.to_owned(), kind, |_| Ok(Some(wanted.into()))).expect("readable")
    }

    fn open(state: &Path) -> Journal {
        Journal::open(state, "docker").expect("a journal")
    }

    #[test]
    fn what_was_changed_comes_back_to_the_byte_and_what_was_made_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (dir.path().join("old"), dir.path().join("a/b/new"));
        std::fs::write(&old, " was \n").expect("written");
        let mut journal = open(dir.path());
        for wanted in ["first", "second"] {
            let plan = [planned(&journal, &old, wanted), planned(&journal, &new, wanted)];
            journal.apply(&plan).expect("applied");
            assert_eq!(std::fs::read_to_string(&new).expect("made"), wanted);
            journal = open(dir.path());
        }
        let changes = journal.plan_undo().expect("readable");
        assert_eq!(changes.len(), 2);
        journal.undo(&changes).expect("undone");
        assert_eq!(std::fs::read_to_string(&old).expect("there"), " was \n");
        assert!(!dir.path().join("a").exists() && journal.is_empty());
        assert!(open(dir.path()).is_empty());
    }

    #[test]
    fn directories_go_that_a_first_time_made_and_a_second_time_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join("certs.d").join(name).join("hosts.toml");
        let mut journal = open(dir.path());
        journal.apply(&[planned(&journal, &at("docker.io"), "x")]).expect("applied");
        let both = ["docker.io", "ghcr.io"].map(|name| planned(&journal, &at(name), "x"));
        journal.apply(&both).expect("applied");
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        assert!(!dir.path().join("certs.d").exists());
    }

    #[test]
    fn what_others_have_written_since_stays_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("daemon.json");
        std::fs::write(&path, "{\"theirs\": 1}\n").expect("written");
        let mut journal = open(dir.path());
        let wanted = "{\"theirs\": 1, \"registry-mirrors\": [\"https://127.0.0.1:5443\"]}";
        let edit = |_: Option<&str>| Ok(Some(wanted.to_owned()));
        let plan = journal.plan(path.clone(), FileKind::DaemonJson, edit).expect("planned");
        journal.apply(&[plan]).expect("applied");
        std::fs::write(&path, wanted.replace("1,", "1, \"more\": 2,")).expect("written");
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        let left = std::fs::read_to_string(&path).expect("there");
        assert_eq!(left, "{\n  \"theirs\": 1,\n  \"more\": 2\n}");
    }

    #[test]
    fn a_change_that_cannot_be_applied_takes_the_others_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let (good, bad) = (dir.path().join("good"), dir.path().join("good/below/a/file"));
        let mut journal = open(dir.path());
        let new = dir.path().join("a/new");
        let plan = [&good, &new, &bad].map(|path| planned(&journal, path, "x"));
        journal.apply(&plan).expect_err("a file is no directory");
        assert!(!good.exists() && !dir.path().join("a").exists() && journal.is_empty());
    }

    #[test]
    fn a_files_kind_is_in_the_journal_and_not_in_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        // By its extension this would be a file of hubcap's own, and be removed.
        let path = dir.path().join("daemon.conf");
        let mut journal = open(dir.path());
        let edit = |_: Option<&str>| Ok(Some("{\"registry-mirrors\": [\"https://127.0.0.1:1\"]}".to_owned()));
        let plan = journal.plan(path.clone(), FileKind::DaemonJson, edit).expect("planned");
        journal.apply(&[plan]).expect("applied");
        std::fs::write(&path, "{\"debug\": true, \"registry-mirrors\": [\"https://127.0.0.1:1\"]}\n")
            .expect("written");
        let mut journal = open(dir.path());
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "{\n  \"debug\": true\n}\n");
    }

    /// As an earlier hubcap left it: without kinds.
    fn older_journal(state: &Path, client: &str, files: &serde_json::Value) -> Journal {
        let dir = state.join("wiring");
        std::fs::create_dir_all(&dir).expect("made");
        let text = serde_json::json!({"host": null, "files": files}).to_string();
        std::fs::write(dir.join(format!("{client}.json")), text).expect("written");
        Journal::open(state, client).expect("an older journal")
    }

    #[test]
    fn an_older_journal_is_undone_to_the_byte() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("etc/daemon.json");
        std::fs::create_dir_all(dir.path().join("etc")).expect("made");
        std::fs::write(&path, "ours").expect("written");
        let files = serde_json::json!([
            {"path": path, "before": null, "after": "ours", "made": [dir.path().join("etc")]}
        ]);
        let mut journal = older_journal(dir.path(), "docker", &files);
        let changes = journal.plan_undo().expect("readable");
        journal.undo(&changes).expect("undone");
        assert!(!dir.path().join("etc").exists() && !dir.path().join("wiring/docker.json").exists());
    }

    #[test]
    fn an_older_journals_files_that_others_changed_lose_hubcaps_part_alone() {
        let block = "# Written by hubcap, which removes it again: hubcap unset\n[host.\"https://127.0.0.1:1\"]\n  \
                     dial_timeout = \"1s\"\n";
        for (client, name, before, after, now, left) in [
            (
                "docker",
                "daemon.json",
                Some("{}\n"),
                "{\n  \"registry-mirrors\": [\"https://127.0.0.1:1\"]\n}\n",
                "{\n  \"debug\": true,\n  \"registry-mirrors\": [\"https://127.0.0.1:1\"]\n}\n".to_owned(),
                Some("{\n  \"debug\": true\n}\n"),
            ),
            ("docker", "hosts.toml", None, block, format!("{block}# theirs\n"), Some("# theirs\n")),
            ("docker", "ca.crt", None, "ours", "theirs".into(), Some("theirs")),
            ("docker", "hubcap-proxy.conf", None, "ours", "changed".into(), None),
            ("containerd", "hosts.toml", None, block, format!("{block}# theirs\n"), Some("# theirs\n")),
            (
                "buildkit",
                "buildkitd.toml",
                Some("debug = true\n"),
                "debug = true\n[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n",
                "debug = false\n[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n".into(),
                Some("debug = false\n"),
            ),
            ("podman", "zz-hubcap.conf", None, "ours", "changed".into(), None),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join(name);
            std::fs::write(&path, &now).expect("written");
            let files = serde_json::json!([{"path": path, "before": before, "after": after, "made": []}]);
            let mut journal = older_journal(dir.path(), client, &files);
            let changes = journal.plan_undo().expect("readable");
            journal.undo(&changes).expect("undone");
            assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), left, "{client} {name}");
        }
    }
}
