//! The daemon's log: a file in its state directory, to which its standard output and error are appended. It has an end,
//! whatever happens: a daemon may run for months, and a registry in trouble may give each client a warning.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Result};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// A log of more bytes becomes the old one.
const MOST: u64 = 16 << 20;
/// Lines that are shown when a start fails.
const SHOWN_LINES: usize = 10;
const ROOT: u32 = 0;

/// This process's log, where it is a daemon in the background.
static OURS: OnceLock<PathBuf> = OnceLock::new();

/// The log's file.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("hubcap.log")
}

/// Notes that what this process writes to standard error is appended to the log of this state directory.
pub(crate) fn is_ours(state: &Path) {
    let _ = OURS.set(path(state));
}

/// Before a line is written: makes this process's log the old one where it is too large.
pub(crate) fn keep_ours_small() {
    if let Some(path) = OURS.get() {
        keep_small(path, MOST);
    }
}

/// Makes a log of this daemon or of the differ, if it is too large, the old one, whose place it takes.
pub(crate) fn make_room(path: &Path) {
    keep_small(path, MOST);
}

/// Opens a log of this daemon or of the differ, to append to it. Others may be able to write to the state directory, and could
/// put a link in the log's place: root would write to the file where it leads. What is no log of ours gives way to a new one.
pub(crate) fn open(path: &Path) -> Result<File> {
    // Names of private repositories and digests of private images are in it.
    let make = || OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path);
    match make() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made,
    }
    if let Some(log) = existing(path) {
        return Ok(log);
    }
    std::fs::remove_file(path)?;
    make()
}

/// A log itself that is this user's or root's, by no other name: a second name could be that of another file of theirs.
fn existing(path: &Path) -> Option<File> {
    // A pipe that nobody reads would keep the caller waiting.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    let is_ours = found.is_file() && found.nlink() == 1 && [geteuid().as_raw(), ROOT].contains(&found.uid());
    is_ours.then_some(file)
}

/// Copied and emptied, since the file is open in the daemon and in what it has started; all of them append. What cannot be
/// copied, on a full disk, is lost: that is no reason to take more of it.
fn keep_small(path: &Path, most: u64) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let is_large = || std::fs::symlink_metadata(path).is_ok_and(|found| found.len() > most);
    if !is_large() {
        return;
    }
    let Ok(_copying) = ONE_AT_A_TIME.lock() else { return };
    if !is_large() {
        return;
    }
    let Some(mut log) = existing(path) else { return };
    let old = path.with_extension("log.1");
    let _ = std::fs::remove_file(&old);
    if open(&old).and_then(|mut old| std::io::copy(&mut log, &mut old)).is_err() {
        let _ = std::fs::remove_file(old);
    }
    let _ = log.set_len(0);
}

/// What is in a log of this daemon or of the differ; nothing, where there is none.
pub(crate) fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    let _ = existing(path).map(|log| log.take(2 * MOST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The end of the log, for an error.
pub(crate) fn end(state: &Path) -> String {
    let path = path(state);
    let text = text(&path);
    if text.trim().is_empty() {
        return format!("{} does not say why", path.display());
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_in_the_place_of_a_log_gives_way_and_where_it_leads_nothing_changes() {
        let state = tempfile::tempdir().expect("a directory");
        let (path, theirs) = (path(state.path()), state.path().join("theirs"));
        std::fs::write(&theirs, "theirs").expect("written");
        let places: [fn(&Path, &Path); 4] = [
            |theirs, path| symlink(theirs, path).expect("linked"),
            |theirs, path| std::fs::hard_link(theirs, path).expect("linked"),
            |_, path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe"),
            |_, path| {
                std::fs::write(path, "of another user").expect("written");
                chown(path, Some(65_534), Some(65_534)).expect("given away");
            },
        ];
        // Only root can give a file away.
        let most = if geteuid().is_root() { 4 } else { 3 };
        for (number, put) in places.into_iter().take(most).enumerate() {
            put(&theirs, &path);
            keep_small(&path, 0);
            assert!(!path.with_extension("log.1").exists(), "{number}");
            assert_eq!(end(state.path()), format!("{} does not say why", path.display()), "{number}");
            for text in ["first", "second"] {
                writeln!(open(&path).expect("a log"), "{text}").expect("written");
            }
            assert_eq!(end(state.path()), "first\nsecond", "{number}");
            let found = path.symlink_metadata().expect("there");
            assert!(found.is_file() && found.mode() & 0o777 == 0o600, "{number}");
            assert_eq!(std::fs::read_to_string(&theirs).expect("there"), "theirs", "{number}");
            std::fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn an_old_log_is_written_where_no_link_leads() {
        let state = tempfile::tempdir().expect("a directory");
        let (path, theirs) = (path(state.path()), state.path().join("theirs"));
        std::fs::write(&theirs, "theirs").expect("written");
        symlink(&theirs, path.with_extension("log.1")).expect("linked");
        writeln!(open(&path).expect("a log"), "a line").expect("written");
        keep_small(&path, 0);
        assert_eq!(std::fs::read_to_string(path.with_extension("log.1")).expect("there"), "a line\n");
        assert_eq!(std::fs::read_to_string(&theirs).expect("there"), "theirs");
    }

    #[test]
    fn a_log_has_one_old_file_and_neither_is_larger_than_it_may_be() {
        let state = tempfile::tempdir().expect("a directory");
        let path = path(state.path());
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).expect("a file");
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).expect("set");
        for line in 0..1000 {
            keep_small(&path, 1000);
            writeln!(file, "line {line}").expect("written");
        }
        let old = path.with_extension("log.1");
        let text = |path: &Path| std::fs::read_to_string(path).expect("read");
        assert!(text(&path).len() <= 1010 && text(&old).len() <= 1010);
        let last: Vec<String> = (text(&old) + &text(&path)).lines().map(ToOwned::to_owned).collect();
        let first: usize = last[0].strip_prefix("line ").expect("a line").parse().expect("a number");
        assert_eq!(last, (first..1000).map(|line| format!("line {line}")).collect::<Vec<_>>());
        assert_eq!(old.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(state.path().read_dir().expect("read").count(), 2);
    }
}
