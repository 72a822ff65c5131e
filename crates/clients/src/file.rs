//! Reading and replacing files of others, as root where that is needed.

use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::encoding::Encoding;
use crate::error::Error;
use crate::sudo;

/// The mode of a new file: clients read it, perhaps as other users.
const MODE: u32 = 0o644;

/// How the name ends under which a file's new text is written before it takes the file's place.
pub(crate) const NEW: &str = ".hubcap-new";

/// The longest file that is read, in bytes. People write these files: a longer one is not what its name says.
const MOST: u64 = 16 << 20;
const NO_FILE: &str = "it is no regular file";

/// A shell's way to replace the file `$1` by what it reads. As [`fill`] does: nobody else reads the new one before it has the
/// old one's mode, and it is on the disk before it counts.
const REPLACE: &str = "set -e; new=\"$1.hubcap-new\"; mkdir -p -- \"$(dirname -- \"$1\")\"; rm -f -- \"$new\"; \
    umask 077; cat >\"$new\"; \
    if [ -e \"$1\" ]; then chown --reference=\"$1\" -- \"$new\"; chmod --reference=\"$1\" -- \"$new\"; \
    else chmod 644 -- \"$new\"; fi; \
    sync -- \"$new\"; \
    mv -f -- \"$new\" \"$1\" 2>/dev/null || { cat -- \"$new\" >\"$1\"; rm -f -- \"$new\"; }";

/// The text of a regular file of the user or of a checkout, in UTF-8.
///
/// # Errors
/// Names the file. The kind is [`ErrorKind::InvalidInput`] for what is no regular file, [`ErrorKind::FileTooLarge`] for one of more
/// than 16 MiB, [`ErrorKind::InvalidData`] for what is no text; else the system's.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    let text = regular(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not text"))
    });
    text.map_err(|error| with_name(path, &error))
}

/// A file's text; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    Encoding::decode(bytes).map(Some).ok_or_else(|| Error::not_understood(path, "it is not text"))
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match regular(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // It may not even be there: only root can tell.
            let script = format!(
                "if [ -f \"$1\" ]; then head -c {} -- \"$1\"; elif [ -e \"$1\" ]; then echo '{NO_FILE}' >&2; exit 1; \
                 else exit {}; fi",
                MOST + 1,
                sudo::NO_FILE
            );
            let output = sudo::run(path, &script, None)?;
            if output.status.code() == Some(sudo::NO_FILE) {
                return Ok(None);
            }
            not_too_long(output.stdout).map(Some).map_err(|error| named(path, &error))
        }
        Err(error) => Err(named(path, &error)),
    }
}

/// The bytes of a regular file, to which links may lead. They may as well lead to a device, which has no end, or to a pipe, which
/// keeps who opens it waiting: a checkout brings any link under any name.
pub(crate) fn regular(path: &Path) -> std::io::Result<Vec<u8>> {
    opened(path, OFlags::NONBLOCK).map(|(bytes, _)| bytes)
}

/// The bytes of a file of hubcap's own, and the user that it belongs to. hubcap makes no links: where one leads is not its own.
///
/// # Errors
/// As [`read_text`] has them, without the file's name; for a link, the system's.
pub fn own(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    opened(path, OFlags::NONBLOCK | OFlags::NOFOLLOW).map(|(bytes, found)| (bytes, found.uid()))
}

fn opened(path: &Path, how: OFlags) -> std::io::Result<(Vec<u8>, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(how.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, NO_FILE));
    }
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok((not_too_long(bytes)?, found))
}

fn not_too_long(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if bytes.len() as u64 > MOST {
        let why = format!("it is longer than {} MiB", MOST >> 20);
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Replaces a file in one step, its owner, mode and encoding kept. `None` removes it.
pub(crate) fn replace(path: &Path, text: Option<&str>) -> Result<(), Error> {
    let encoding = Encoding::of(&read_bytes(path)?.unwrap_or_default());
    let bytes = text.map(|text| encoding.encode(text));
    let done = match &bytes {
        Some(bytes) => write_bytes(path, bytes),
        None => std::fs::remove_file(path).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let script = if bytes.is_some() { REPLACE } else { "rm -f -- \"$1\"" };
            sudo::run(path, script, bytes.as_deref()).map(drop)
        }
        Err(error) => Err(named(path, &error)),
    }
}

/// Replaces a file in one step, or makes it. The owner and the mode of an existing file are kept.
///
/// The new text is written beside the file under a fixed name and not, as by tempfile, under a random one: a hubcap that
/// is killed leaves at most one such file in a directory that clients read, and the next hubcap removes it.
fn write_bytes(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let new = beside(path);
    let _ = std::fs::remove_file(&new);
    let written = fill(&new, path, bytes).and_then(|()| std::fs::rename(&new, path));
    let written = match written {
        Err(error) if is_mounted(&error) && path.is_file() => overwrite(path, bytes),
        written => written,
    };
    // What is left where that failed.
    let _ = std::fs::remove_file(&new);
    written
}

/// Whether a file may only be impossible to replace because it alone is mounted, as containers' files are.
fn is_mounted(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ResourceBusy | ErrorKind::CrossesDevices | ErrorKind::ReadOnlyFilesystem
    )
}

/// Writes into a file that cannot be replaced. Where the disk fails in the midst of that, what was in it is written back.
fn overwrite(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let before = std::fs::read(path)?;
    let put = |bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    put(bytes).inspect_err(|_| {
        let _ = put(&before);
    })
}

/// Makes the file `new`, which is to replace `old`.
fn fill(new: &Path, old: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // Nobody else reads it before it has the old one's mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    match std::fs::metadata(old) {
        Ok(old) => {
            file.set_permissions(old.permissions())?;
            // Only root can give a file to another user. Others own what they may replace, or its directory is theirs.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        Err(_) => file.set_permissions(Permissions::from_mode(MODE))?,
    }
    file.sync_all()
}

/// Removes what a killed run left beside a file.
pub(crate) fn remove_leftover(path: &Path) {
    let new = beside(path);
    if let Err(error) = std::fs::remove_file(&new)
        && error.kind() == ErrorKind::PermissionDenied
    {
        let _ = sudo::run(&new, "rm -f -- \"$1\"", None);
    }
}

/// Where a file's new text is written before it takes the file's place.
fn beside(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    new.into()
}

/// The error with the file's name.
pub(crate) fn named(path: &Path, error: &std::io::Error) -> Error {
    with_name(path, error).into()
}

fn with_name(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn only_a_regular_file_of_a_length_that_people_write_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").expect("written");
        std::fs::write(at("binary"), b"\xff").expect("written");
        std::fs::File::create(at("long")).and_then(|file| file.set_len(MOST + 1)).expect("a sparse file");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        symlink("file", at("link")).expect("linked");
        symlink("/dev/zero", at("device")).expect("linked");
        for name in ["file", "link"] {
            assert_eq!(read_text(&at(name)).expect(name), "text");
            assert_eq!(read(&at(name)).expect(name).as_deref(), Some("text"));
        }
        for (name, kind, why) in [
            ("pipe", ErrorKind::InvalidInput, NO_FILE),
            ("device", ErrorKind::InvalidInput, NO_FILE),
            (".", ErrorKind::InvalidInput, NO_FILE),
            ("long", ErrorKind::FileTooLarge, "it is longer than 16 MiB"),
            ("binary", ErrorKind::InvalidData, "it is not text"),
        ] {
            let error = read_text(&at(name)).expect_err(name);
            assert_eq!((error.kind(), error.to_string()), (kind, format!("{}: {why}", at(name).display())));
            let refused = read(&at(name)).expect_err(name).to_string();
            assert!(refused.contains(why) && refused.contains(&at(name).display().to_string()), "{refused}");
        }
        assert_eq!(read_text(&at("none")).expect_err("none").kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_new_one_can_be_read_by_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let (old, new) = (dir.path().join("old"), dir.path().join("a/new"));
        std::fs::write(&old, "before").expect("written");
        std::fs::set_permissions(&old, Permissions::from_mode(0o640)).expect("changed");
        for (path, wanted) in [(&old, 0o640), (&new, 0o644)] {
            replace(path, Some("after")).expect("replaced");
            assert_eq!(
                (std::fs::read_to_string(path).expect("there").as_str(), mode(path)),
                ("after", wanted)
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 2, "nothing stays beside them");
    }

    #[test]
    fn a_file_behind_a_link_is_replaced_and_the_link_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "before").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        replace(&crate::paths::resolved(link.clone()), Some("after")).expect("replaced");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "after");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_link_whose_file_is_not_there_yet_stays_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::os::unix::fs::symlink("file", &link).expect("linked");
        replace(&crate::paths::resolved(link.clone()), Some("after")).expect("made");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "after");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_file_keeps_its_encoding() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("daemon.json");
        for encoding in [Encoding::Utf8WithMark, Encoding::Utf16Le, Encoding::Utf16Be] {
            std::fs::write(&path, encoding.encode("{}")).expect("written");
            assert_eq!(read(&path).expect("readable").as_deref(), Some("{}"));
            replace(&path, Some("{\"debug\": true}")).expect("replaced");
            assert_eq!(std::fs::read(&path).expect("there"), encoding.encode("{\"debug\": true}"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        for (before, after) in [("long text", "short"), ("short", "long text")] {
            std::fs::write(&path, before).expect("written");
            let inode = std::fs::metadata(&path).expect("there").ino();
            overwrite(&path, after.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), after);
            assert_eq!(std::fs::metadata(&path).expect("there").ino(), inode);
        }
    }

    #[test]
    fn what_a_killed_run_left_is_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(dir.path().join("file.hubcap-new"), "half").expect("written");
        replace(&path, Some("whole")).expect("replaced");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "whole");
        assert!(!dir.path().join("file.hubcap-new").exists());
    }

    #[test]
    fn removing_a_file_that_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        replace(&dir.path().join("none"), None).expect("nothing to do");
        assert_eq!(read(&dir.path().join("none")).expect("readable"), None);
    }

    #[test]
    fn what_root_writes_is_read_by_nobody_else_before_it_has_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        for (name, old, wanted) in
            [("secret", Some(0o600), 0o600), ("shared", Some(0o664), 0o664), ("new", None, MODE)]
        {
            let path = dir.path().join(name);
            if let Some(old) = old {
                std::fs::write(&path, "old").expect("written");
                std::fs::set_permissions(&path, Permissions::from_mode(old)).expect("changed");
            }
            let mut shell = Command::new("sh");
            let mut shell =
                shell.args(["-c", REPLACE, "sh"]).arg(&path).stdin(Stdio::piped()).spawn().expect("a shell");
            let mut stdin = shell.stdin.take().expect("a pipe");
            stdin.write_all(b"half").expect("written");
            while std::fs::metadata(beside(&path)).is_ok_and(|new| new.len() < 4) || !beside(&path).exists() {
                std::thread::yield_now();
            }
            assert_eq!(mode(&beside(&path)), 0o600, "{name}");
            drop(stdin);
            assert!(shell.wait().expect("its end").success(), "{name}");
            assert_eq!(
                (mode(&path), std::fs::read(&path).expect("read")),
                (wanted, b"half".to_vec()),
                "{name}"
            );
        }
    }
}
