//! The daemon's log: a file in its state directory, to which its standard output and error are appended. It has an end,
//! whatever happens: a daemon may run for months, and a registry in trouble may give each client a warning.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// A log of more bytes becomes the old one.
const MOST: u64 = 16 << 20;
/// Lines that are shown when a start fails.
const SHOWN_LINES: usize = 10;

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

/// Copied and emptied, since the file is open in the daemon and in what it has started; all of them append. What cannot be
/// copied, on a full disk, is lost: that is no reason to take more of it.
fn keep_small(path: &Path, most: u64) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let is_large = || std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > most);
    if !is_large() {
        return;
    }
    let Ok(_copying) = ONE_AT_A_TIME.lock() else { return };
    if !is_large() {
        return;
    }
    let old = path.with_extension("log.1");
    if std::fs::copy(path, &old).is_err() {
        let _ = std::fs::remove_file(old);
    }
    let _ = std::fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0));
}

/// The end of the log, for an error.
pub(crate) fn end(state: &Path) -> String {
    let mut text = String::new();
    let path = path(state);
    let read = std::fs::File::open(&path).and_then(|file| file.take(2 * MOST).read_to_string(&mut text));
    if read.is_err() || text.trim().is_empty() {
        return format!("{} does not say why", path.display());
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
