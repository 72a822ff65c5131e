//! The journal's own file, in the state directory.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Contents;
use crate::error::Error;
use crate::file;
use crate::sudo;

/// The journal is for its owner's eyes: proxies' passwords may be in the files of others.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

pub(crate) fn path(state: &Path, client: &str) -> PathBuf {
    state.join("wiring").join(format!("{client}.json"))
}

/// Reads a journal; no file is an empty one. root does what it says with any file, and so reads none that another user than
/// who called `sudo` may have written.
pub(crate) fn read<T: Default + DeserializeOwned>(path: &Path) -> Result<T, Error> {
    if sudo::is_root()
        && let Ok(found) = std::fs::symlink_metadata(path)
        && !sudo::trusts(found.uid())
    {
        let why = format!(
            "it belongs to user {}, who could have root change any file by it: run this command as that user, or with sudo as \
             that user",
            found.uid()
        );
        return Err(Error::not_understood(path, why));
    }
    let Some(text) = file::read(path)? else { return Ok(T::default()) };
    serde_json::from_str(&text).map_err(|error| {
        let why = format!(
            "it says what hubcap changed, and is damaged ({error}). Take hubcap's lines out of the client's files by hand, \
             then remove it"
        );
        Error::not_understood(path, why)
    })
}

/// Writes the journal; `None`, which is an empty one, is no file.
pub(crate) fn write<T: Serialize>(path: &Path, contents: Option<&T>) -> Result<(), Error> {
    let Some(contents) = contents else {
        file::remove_leftover(path);
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file::named(path, &error)),
            _ => Ok(()),
        };
    };
    let Some(dir) = path.parent() else { return Ok(()) };
    let named = |error: std::io::Error| file::named(path, &error);
    std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir).map_err(named)?;
    let text = serde_json::to_string_pretty(contents).unwrap_or_default();
    file::write(path, &text, MODE).map_err(named)?;
    // The files of clients are changed next: after a power failure the journal must not be the older one.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(named)?;
    give_to_owner(dir, path);
    Ok(())
}

/// Gives the journal to who called `sudo`, if the state directory is theirs: `sudo hubcap setup` is undone by that user's
/// `hubcap down`.
fn give_to_owner(dir: &Path, path: &Path) {
    let Some(owner) = dir.parent().and_then(|state| std::fs::metadata(state).ok()) else { return };
    if sudo::is_root() && sudo::caller() == Some(owner.uid()) {
        for ours in [dir, path] {
            let _ = chown(ours, Some(owner.uid()), Some(owner.gid()));
        }
    }
}

/// The directories that the other journals of this state directory know as made by hubcap.
pub(super) fn made_by_others(path: &Path) -> Vec<PathBuf> {
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
    let others = entries
        .map(|entry| entry.path())
        .filter(|other| other != path && other.extension().is_some_and(|extension| extension == "json"));
    let contents = others.filter_map(|other| read::<Contents>(&other).ok());
    contents.flat_map(|contents| contents.files).flat_map(|record| record.made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_believes_no_journal_of_another_user() {
        if !sudo::is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(dir.path(), "podman");
        write(&path, Some(&Contents::default())).expect("written");
        read::<Contents>(&path).expect("root's own");
        chown(&path, Some(65_534), Some(65_534)).expect("given away");
        let refused = read::<Contents>(&path).expect_err("another's").to_string();
        assert!(refused.contains("user 65534"), "{refused}");
    }
}
