//! Changing clients' files, and going back when a later step fails.

use std::path::PathBuf;

use super::{Contents, FileRecord, Journal, disk};
use crate::change::{Change, Planned};
use crate::error::Error;
use crate::file;
use crate::paths;

/// Changes that were made, with which the files and the journal can go back to what they were before them.
#[derive(Debug)]
pub struct Applied {
    changes: Vec<Change>,
    made: Vec<PathBuf>,
    before: Contents,
}

impl Applied {
    /// What going back changes.
    pub(crate) fn back(&self) -> impl Iterator<Item = Change> {
        self.changes.iter().map(|change| Change {
            path: change.path.clone(),
            current: change.wanted.clone(),
            wanted: change.current.clone(),
        })
    }
}

impl Journal {
    /// Applies planned changes. Files that were changed before and are not among them stay in the journal.
    ///
    /// # Errors
    /// [`Error`]; the files that were changed already are restored.
    pub fn apply(&mut self, plan: &[Planned]) -> Result<Applied, Error> {
        let mut applied = self.announce(plan)?;
        for planned in plan {
            let change = &planned.change;
            if let Err(error) = file::replace(&change.path, change.wanted.as_deref()) {
                // Its own failure would be the same one, and then the journal knows what is left.
                let _ = self.go_back(applied);
                return Err(error);
            }
            applied.changes.push(change.clone());
        }
        self.settle(plan)?;
        Ok(applied)
    }

    /// Writes down what will be changed.
    pub(super) fn announce(&mut self, plan: &[Planned]) -> Result<Applied, Error> {
        let before = self.contents.clone();
        let by_others = disk::made_by_others(&self.path);
        let mut new = Vec::new();
        for planned in plan {
            let change = &planned.change;
            let at = self.contents.files.iter().position(|record| record.is_of(&change.path));
            let known = at.map(|at| self.contents.files.remove(at));
            let missing = paths::missing_directories(&change.path);
            let made = known.as_ref().map_or_else(
                || {
                    let shared = change.path.ancestors().skip(1).map(PathBuf::from);
                    let shared = shared.filter(|dir| by_others.contains(dir) && !missing.contains(dir));
                    missing.iter().cloned().chain(shared).collect()
                },
                |known| known.made.clone(),
            );
            new.extend(missing);
            let record = FileRecord::planned(planned, known.as_ref(), made);
            let host = self.contents.host.clone();
            self.contents.files.extend(record.map(|record| FileRecord { host, ..record }));
        }
        self.write()?;
        Ok(Applied { changes: Vec::new(), made: new, before })
    }

    /// Writes down that the planned files are as they were to become. Others may still be as an earlier plan has left them
    /// when it was killed.
    fn settle(&mut self, plan: &[Planned]) -> Result<(), Error> {
        let is_planned = |record: &FileRecord| plan.iter().any(|planned| planned.change.path == record.path);
        for record in self.contents.files.iter_mut().filter(|record| is_planned(record)) {
            record.earlier.clear();
        }
        self.contents.files.retain(FileRecord::is_ours);
        self.write()
    }

    /// Makes the files and the journal what they were before these changes.
    ///
    /// # Errors
    /// [`Error`] of the first file that cannot be restored; the others are, and it can be undone.
    pub fn go_back(&mut self, applied: Applied) -> Result<(), Error> {
        let Applied { changes, made, before } = applied;
        let mut done = Ok(());
        for change in changes.iter().rev() {
            done = done.and(file::replace(&change.path, change.current.as_deref()));
        }
        paths::remove_empty_directories(made);
        done?;
        self.contents = before;
        self.write()
    }
}
