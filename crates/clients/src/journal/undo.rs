//! Restoring clients' files.

use std::path::PathBuf;

use super::{FileRecord, Journal};
use crate::change::Change;
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::paths;

/// What undoing would change.
#[derive(Debug, Default)]
pub(crate) struct Undoing {
    /// The files that can be restored, of the daemon that is meant.
    pub(crate) changes: Vec<Change>,
    /// Why others cannot; they stay in the journal.
    pub(crate) failed: Option<Error>,
}

impl Journal {
    /// What undoing everything would change.
    ///
    /// # Errors
    /// [`Error`] of the first file that cannot be restored.
    pub fn plan_undo(&self) -> Result<Vec<Change>, Error> {
        let Undoing { changes, failed } = self.undoing(|_| true);
        failed.map_or(Ok(changes), Err)
    }

    /// What undoing the changes for one daemon would change.
    pub(crate) fn plan_undo_of(&self, is_meant: impl Fn(Option<&str>) -> bool) -> Undoing {
        self.undoing(|record| is_meant(self.host_of(record)))
    }

    fn undoing(&self, is_meant: impl Fn(&FileRecord) -> bool) -> Undoing {
        let mut undoing = Undoing::default();
        for record in self.contents.files.iter().filter(|record| is_meant(record)) {
            match self.change_back(record) {
                Ok(change) => undoing.changes.push(change),
                Err(error) => undoing.failed = undoing.failed.or(Some(error)),
            }
        }
        undoing
    }

    /// What restoring one file would change. Where it has become a link since, that is the file where the link leads; of a
    /// name that is hubcap's alone it is the link itself.
    fn change_back(&self, record: &FileRecord) -> Result<Change, Error> {
        paths::refuse_links_of_others(&record.path)?;
        let kind = self.kind(record);
        let path = match kind {
            FileKind::Own => record.path.clone(),
            _ => paths::resolved(record.path.clone()),
        };
        let current = file::read(&path)?;
        let wanted = record.original(kind, current.clone())?;
        Ok(Change { path, current, wanted })
    }

    /// Restores the files of these changes, and forgets them.
    ///
    /// # Errors
    /// [`Error`] of the first file that could not be restored. The others are; what is not is still known, so it can be
    /// tried again.
    pub fn undo(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut failed = None;
        let mut made = Vec::<PathBuf>::new();
        for change in changes {
            let done = match change.is_empty() {
                true => Ok(()),
                false => file::replace(&change.path, change.wanted.as_deref()),
            };
            // What a killed run left beside it.
            file::remove_leftover(&change.path);
            match done {
                Ok(()) => made.extend(self.forget(&change.path)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        paths::remove_empty_directories(made);
        self.write()?;
        failed.map_or(Ok(()), Err)
    }

    /// Forgets a file, and returns the directories that were made for it.
    fn forget(&mut self, path: &std::path::Path) -> Vec<PathBuf> {
        let at = self.contents.files.iter().position(|record| record.is_of(path));
        at.map(|at| self.contents.files.remove(at).made).unwrap_or_default()
    }
}
