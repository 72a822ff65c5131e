//! The journal: what was in a client's files before hubcap, and what hubcap wrote. It is written before the first file is
//! changed, so after a crash at any moment the files can be restored to the byte.
//!
//! - [`record`]: one file, and what it is without hubcap's part.
//! - [`apply`]: changing files, and going back when a later step fails.
//! - [`undo`]: restoring them. [`state`]: what has become of them.
//! - [`disk`]: the journal's own file.

mod apply;
pub(crate) mod disk;
mod record;
mod state;
mod undo;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use apply::Applied;
pub(crate) use record::FileRecord;
pub use state::FileState;
pub(crate) use state::state as file_state;
pub(crate) use undo::Undoing;

use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::paths;

/// The files of one client that hubcap has changed.
#[derive(Debug)]
pub struct Journal {
    client: String,
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// Which one was configured last, where there can be several: dockerd's `unix:///var/run/docker.sock`.
    host: Option<String>,
    files: Vec<FileRecord>,
}

impl Journal {
    /// Reads a client's journal, `STATE/wiring/CLIENT.json`. No such file is an empty journal.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::NotUnderstood`] when it is damaged.
    pub fn open(state: &Path, client: &str) -> Result<Self, Error> {
        let path = disk::path(state, client);
        Ok(Self { client: client.to_owned(), contents: disk::read(&path)?, path })
    }

    /// Whether hubcap has changed no file of this client.
    pub fn is_empty(&self) -> bool {
        self.contents.files.is_empty()
    }

    /// Which daemon was configured last, as `unix:///var/run/docker.sock`.
    pub fn host(&self) -> Option<&str> {
        self.contents.host.as_deref()
    }

    /// Every daemon that was configured.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> =
            self.contents.files.iter().filter_map(|record| self.host_of(record)).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Remembers which daemon is configured, with the next [`apply`](Self::apply).
    pub fn set_host(&mut self, host: String) {
        self.contents.host = Some(host);
    }

    /// The daemon that a file is of. A journal of an earlier hubcap has one daemon.
    fn host_of<'a>(&'a self, record: &'a FileRecord) -> Option<&'a str> {
        record.host.as_deref().or(self.host())
    }

    /// The files that hubcap wrote.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.contents.files.iter().map(|record| record.path.as_path())
    }

    /// What is known of a daemon's file of this kind.
    pub(crate) fn record_of_kind(&self, kind: FileKind) -> Option<&FileRecord> {
        self.contents.files.iter().find(|record| self.kind(record) == kind)
    }

    /// What is known of a file.
    pub(crate) fn record(&self, path: &Path) -> Option<&FileRecord> {
        let path = paths::resolved(path.to_owned());
        self.contents.files.iter().find(|record| record.is_of(&path))
    }

    /// Plans a file's new text, which `edit` makes from the text without hubcap's part. `None` is no file.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when the file cannot be read, [`Error::NotUnderstood`] when hubcap's part
    /// cannot be taken out of it or a link of another user leads to it, and the errors of `edit`.
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
        let path = paths::followed(path.to_owned())?;
        let now = file::read(&path)?;
        match self.record(&path) {
            Some(record) => record.original(kind, now),
            None => Ok(now),
        }
    }

    fn write(&self) -> Result<(), Error> {
        disk::write(&self.path, (!self.is_empty()).then_some(&self.contents))
    }

    fn kind(&self, record: &FileRecord) -> FileKind {
        record.kind.unwrap_or_else(|| FileKind::of_older_journal(&self.client, &record.path))
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
