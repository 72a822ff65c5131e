//! A file before and after.

use std::path::PathBuf;

use similar::TextDiff;

use crate::{Error, file};

/// A file's change, and the file without hubcap.
pub type Planned = (Change, Option<String>);

/// What one file is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file; a link is followed.
    pub path: PathBuf,
    /// What is in it now; `None` when there is none.
    pub now: Option<String>,
    /// What it is to have; `None` to remove it.
    pub then: Option<String>,
}

impl Change {
    /// The present file, and what it is to have.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when it cannot be read.
    pub fn of(path: PathBuf, then: Option<String>) -> Result<Self, Error> {
        let path = file::resolved(path);
        let now = file::read(&path)?;
        Ok(Self { path, now, then })
    }

    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.now == self.then
    }

    /// A unified diff for people and for `patch`.
    pub fn diff(&self) -> String {
        let name = |side: &str, text: &Option<String>| match text {
            Some(_) => format!("{side}{}", self.path.display()),
            None => "/dev/null".to_owned(),
        };
        let (old, new) = (self.now.as_deref().unwrap_or_default(), self.then.as_deref().unwrap_or_default());
        let (from, to) = (name("a", &self.now), name("b", &self.then));
        TextDiff::from_lines(old, new).unified_diff().header(&from, &to).to_string()
    }
}
