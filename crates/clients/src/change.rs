//! A file before and after a change.

use std::path::PathBuf;

use similar::TextDiff;

use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::paths;

/// What one file is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file itself, where its path is a symbolic link.
    pub path: PathBuf,
    /// Its text now; `None` when there is no such file.
    pub current: Option<String>,
    /// The text that it is to have; `None` to remove it.
    pub wanted: Option<String>,
}

/// A change that configures a client, with what the journal has to know to undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The change.
    pub change: Change,
    /// The file without hubcap's part; `None` when there was no such file.
    pub original: Option<String>,
    /// How hubcap's part is taken out of the file, should someone else change it too.
    pub kind: FileKind,
}

/// The changes that configure a client.
pub type Plan = Vec<Planned>;

impl Change {
    /// The present file, and the text that it is to have.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when it cannot be read, [`Error::NotUnderstood`] when a link of another user leads to it.
    pub fn of(path: PathBuf, wanted: Option<String>) -> Result<Self, Error> {
        let path = paths::followed(path)?;
        let current = file::read(&path)?;
        Ok(Self { path, current, wanted })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.current == self.wanted
    }

    /// A unified diff for people and for `patch`.
    pub fn diff(&self) -> String {
        let (old, new) =
            (self.current.as_deref().unwrap_or_default(), self.wanted.as_deref().unwrap_or_default());
        let (from, to) = (self.name("a", self.current.as_ref()), self.name("b", self.wanted.as_ref()));
        TextDiff::from_lines(old, new).unified_diff().header(&from, &to).to_string()
    }

    /// The file's name in a diff's header, as git writes it.
    fn name(&self, side: &str, text: Option<&String>) -> String {
        match text {
            Some(_) => format!("{side}{}", self.path.display()),
            None => "/dev/null".to_owned(),
        }
    }
}
