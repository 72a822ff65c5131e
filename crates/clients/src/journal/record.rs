//! One file in the journal, and what it is without hubcap's part.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::change::Planned;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::paths;

/// A file as it was, and as hubcap left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub(crate) path: PathBuf,
    /// `None` in a journal of an earlier hubcap.
    pub(crate) kind: Option<FileKind>,
    /// The daemon that reads it; `None` for a client that has no daemon, and in a journal of an earlier hubcap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// What hubcap wrote before `after`, as long as that may still be in the file: between the journal and the file a
    /// process can be killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<String>,
    /// Directories that were made for it, the outermost first.
    pub(crate) made: Vec<PathBuf>,
}

impl FileRecord {
    /// The record of a planned change, of which `known` is the earlier one and `made` are the directories that are made for
    /// it. `None` where hubcap has nothing in the file, and had nothing.
    pub(crate) fn planned(planned: &Planned, known: Option<&Self>, made: Vec<PathBuf>) -> Option<Self> {
        let Planned { change, original, kind } = planned;
        let is_ours = change.wanted != *original || known.is_some();
        let earlier =
            known.into_iter().flat_map(Self::written).filter(|ours| change.wanted.as_ref() != Some(ours));
        is_ours.then(|| Self {
            path: change.path.clone(),
            kind: Some(*kind),
            host: None,
            before: original.clone(),
            after: change.wanted.clone(),
            earlier: earlier.cloned().collect(),
            made,
        })
    }

    /// Whether it is about the file at this path, which may have become a link since, and then is where that leads.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.path == path || paths::resolved(self.path.clone()) == path
    }

    /// Whether hubcap has anything in the file. Where not, it is someone else's, unless hubcap made its directory.
    pub(crate) fn is_ours(&self) -> bool {
        self.before != self.after || !self.made.is_empty() || !self.earlier.is_empty()
    }

    /// The file without hubcap's part, where its text is `now`.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] when someone has changed it, and hubcap's part cannot be found in it.
    pub(crate) fn original(&self, kind: FileKind, now: Option<String>) -> Result<Option<String>, Error> {
        // What someone else has removed stays removed.
        let Some(mut now) = now else { return Ok(None) };
        if Some(&now) == self.before.as_ref() {
            return Ok(Some(now));
        }
        if self.written().any(|ours| *ours == now) || self.is_torn(&now) {
            return Ok(self.before.clone());
        }
        // What someone else has written since is theirs.
        for ours in self.written() {
            match kind.without_ours(&self.path, self.before.as_deref(), ours, now)? {
                Some(rest) => now = rest,
                None => return Ok(None),
            }
        }
        Ok(Some(now))
    }

    /// Every text that hubcap may have left in the file.
    pub(super) fn written(&self) -> impl Iterator<Item = &String> {
        self.after.iter().chain(&self.earlier)
    }

    /// Whether a file that can only be written in place was left with the beginning of one text and the end of another.
    fn is_torn(&self, now: &str) -> bool {
        let texts: Vec<&str> = self.written().chain(&self.before).map(String::as_str).collect();
        let is_over = |new: &str, old: &str| {
            old.len() > new.len()
                && now.len() == old.len()
                && now.as_bytes().starts_with(new.as_bytes())
                && now.as_bytes()[new.len()..] == old.as_bytes()[new.len()..]
        };
        texts.iter().any(|new| texts.iter().any(|old| !new.is_empty() && is_over(new, old)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(before: Option<&str>, after: &str, earlier: &[&str]) -> FileRecord {
        FileRecord {
            path: "/f".into(),
            kind: Some(FileKind::Certificate),
            host: None,
            before: before.map(Into::into),
            after: Some(after.into()),
            earlier: earlier.iter().map(ToString::to_string).collect(),
            made: Vec::new(),
        }
    }

    fn original(record: &FileRecord, now: Option<&str>) -> Option<String> {
        record.original(FileKind::Certificate, now.map(Into::into)).expect("understood")
    }

    #[test]
    fn every_text_that_hubcap_may_have_left_is_hubcaps() {
        let second = record(None, "second", &["first"]);
        for ours in ["second", "first"] {
            assert_eq!(original(&second, Some(ours)), None);
        }
        assert_eq!(original(&second, Some("theirs")).as_deref(), Some("theirs"));
        assert_eq!(original(&record(Some("was"), "is", &[]), None), None, "removed by someone else");
    }

    #[test]
    fn a_file_that_was_left_in_the_midst_of_a_write_in_place_is_hubcaps() {
        let shorter = record(Some("a long text"), "short", &[]);
        assert_eq!(original(&shorter, Some("shortg text")).as_deref(), Some("a long text"));
        let longer = record(Some("short"), "a long text", &[]);
        assert_eq!(original(&longer, Some("shortg text")).as_deref(), Some("short"));
        assert_eq!(original(&longer, Some("shorty")).as_deref(), Some("shorty"));
    }
}
