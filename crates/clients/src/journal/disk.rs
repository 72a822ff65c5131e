//! The journal's own file, in the state directory.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Contents;
use crate::error::Error;
use crate::file;
use crate::paths;
use crate::sudo;

/// The journals' directory in the state directory.
const WIRING: &str = "wiring";
/// How it is opened.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The journal is for its owner's eyes: proxies' passwords may be in the files of others.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const STATE_MODE: u32 = 0o700;

pub(crate) fn path(state: &Path, client: &str) -> PathBuf {
    state.join(WIRING).join(format!("{client}.json"))
}

/// Reads a journal; no file is an empty one. root does what it says with any file, and so reads none that another user than
/// who called `sudo` may have written, nor where a link of such a user leads.
pub(crate) fn read<T: Default + DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let owner = std::fs::symlink_metadata(path).ok().map(|found| found.uid());
    let another = owner.filter(|user| sudo::mistrusts(*user));
    let by_link = || paths::link_of_another(path).map(|(_, user)| user).filter(|user| sudo::mistrusts(*user));
    if let Some(user) = another.or_else(by_link) {
        let why = format!(
            "it belongs to user {user}, who could have root change any file by it: run this command as that user, or with sudo as \
             that user"
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

/// Writes the journal; `None`, which is an empty one, is no file. The state directory may be another user's: what is in it is
/// looked up once, and no link is followed below it.
pub(crate) fn write<T: Serialize>(path: &Path, contents: Option<&T>) -> Result<(), Error> {
    let named = |error: std::io::Error| file::named(path, &error);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let Some(state) = dir.parent() else { return Ok(()) };
    let mut new = name.to_owned();
    new.push(file::NEW);
    let Some(contents) = contents else {
        let Some(dir) = existing(state).map_err(named)? else { return Ok(()) };
        for name in [&*new, name] {
            removed(&dir, name).map_err(named)?;
        }
        return Ok(());
    };
    std::fs::DirBuilder::new().recursive(true).mode(STATE_MODE).create(state).map_err(named)?;
    let (dir, owner) = made(state).map_err(named)?;
    let text = serde_json::to_string_pretty(contents).unwrap_or_default();
    let put = || {
        removed(&dir, &new)?;
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&dir, &*new, how, MODE)?);
        file.write_all(text.as_bytes())?;
        give(&file, owner.as_ref());
        file.sync_all()?;
        renameat(&dir, &*new, &dir, name)?;
        // The files of clients are changed next: after a power failure the journal must not be the older one.
        dir.sync_all()
    };
    put().map_err(named)
}

/// The journals' directory itself; `None` where there is none.
fn existing(state: &Path) -> std::io::Result<Option<File>> {
    match open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(state) => match openat(state, WIRING, DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(Some(dir.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        },
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The journals' directory itself, which is made where there is none, and whom what is made in it is for: who called `sudo`, if
/// the state directory is theirs. `sudo hubcap setup` is undone by that user's `hubcap down`.
fn made(state: &Path) -> std::io::Result<(File, Option<Metadata>)> {
    let state = File::from(open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let is_callers = |owner: &Metadata| sudo::is_root() && sudo::caller() == Some(owner.uid());
    let owner = Some(state.metadata()?).filter(is_callers);
    let is_new = match mkdirat(&state, WIRING, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true)?,
    };
    let dir = File::from(openat(&state, WIRING, DIRECTORY, Mode::empty())?);
    if is_new {
        give(&dir, owner.as_ref());
    }
    Ok((dir, owner))
}

/// Gives away what was made just now.
fn give(ours: &File, owner: Option<&Metadata>) {
    if let Some(owner) = owner {
        let _ = fchown(ours, Some(owner.uid()), Some(owner.gid()));
    }
}

fn removed(dir: &File, name: &OsStr) -> std::io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => Err(error.into()),
        _ => Ok(()),
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
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn no_journal_is_written_removed_or_given_away_where_a_link_leads() {
        let dir = tempfile::tempdir().expect("a directory");
        let (state, theirs) = (dir.path().join("state"), dir.path().join("theirs"));
        for made in [&state, &theirs] {
            std::fs::create_dir(made).expect("made");
        }
        std::fs::write(theirs.join("docker.json"), "theirs").expect("written");
        symlink(&theirs, state.join(WIRING)).expect("linked");
        let path = path(&state, "docker");
        for contents in [Some(Contents::default()), None] {
            write(&path, contents.as_ref()).expect_err("no directory");
            assert_eq!(std::fs::read_to_string(theirs.join("docker.json")).expect("there"), "theirs");
            assert_eq!(std::fs::read_dir(&theirs).expect("there").count(), 1);
        }
        if sudo::is_root() {
            std::os::unix::fs::lchown(state.join(WIRING), Some(65_534), Some(65_534)).expect("given away");
            let refused = read::<Contents>(&path).expect_err("another's").to_string();
            assert!(refused.contains("user 65534"), "{refused}");
        }
    }

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
