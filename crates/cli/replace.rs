//! Atomic replacement of a file outside the store.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// For its owner alone.
pub(crate) const PRIVATE: u32 = 0o600;
/// For everybody whom the umask lets.
pub(crate) const PUBLIC: u32 = 0o666;

/// The end of the names of files that are being written.
const PART: &str = ".part";
/// Nobody writes to such a file any more when nothing was written to it for so long: a kill has left it.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Replaces the file at `path` in one step: a reader sees the old file or the new one. `write` gets a file in the same
/// directory, with these permissions less the umask; when it fails, that file is removed and the old one stays.
///
/// # Errors
/// Those of `write`, and of the file system.
pub(crate) fn replace(
    path: &Path,
    permissions: u32,
    write: impl FnOnce(&File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = path.file_name().with_context(|| format!("{} is no file's name", path.display()))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{}.", name.to_string_lossy());
    remove_abandoned(directory, &prefix);
    let file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(PART)
        .permissions(Permissions::from_mode(permissions))
        .tempfile_in(directory)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    write(file.as_file())?;
    file.persist(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}

/// As [`replace`], for a file that the user has named: of a link, where it leads. What is no file, as a device or a pipe, stays what
/// it is, and is written to.
///
/// # Errors
/// As [`replace`].
pub(crate) fn write_named(
    path: &Path,
    permissions: u32,
    write: impl FnOnce(&File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {
            let itself = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            replace(&itself, permissions, write)
        }
        Ok(found) if !found.is_dir() => {
            let file = File::options().write(true).open(path);
            write(&file.with_context(|| format!("{} cannot be written", path.display()))?)
        }
        _ => replace(path, permissions, write),
    }
}

/// Removes what kills have left of earlier replacements: an image's file may have gigabytes.
fn remove_abandoned(directory: &Path, prefix: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(PART));
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if is_part && modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_to_its_end_leaves_the_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        replace(&path, PUBLIC, |mut file| Ok(file.write_all(b"old")?)).expect("written");
        let failed = replace(&path, PUBLIC, |mut file| {
            file.write_all(b"new")?;
            anyhow::bail!("no more")
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"old");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn what_a_user_names_and_is_no_file_or_a_link_stays_what_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link, pipe) =
            (directory.path().join("file"), directory.path().join("link"), directory.path().join("pipe"));
        std::fs::write(&file, b"old").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .expect("a pipe");
        let write = |path: &Path| write_named(path, PUBLIC, |mut file| Ok(file.write_all(b"new")?));
        write(&link).expect("written");
        assert!(link.is_symlink() && std::fs::read(&file).expect("read") == b"new");
        let reading = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe)
        });
        write(&pipe).expect("written");
        assert_eq!(reading.join().expect("no panic").expect("read"), b"new");
    }

    #[test]
    fn what_a_kill_has_left_goes_an_hour_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let (old, new) = (directory.path().join(".file.a.part"), directory.path().join(".file.b.part"));
        for path in [&old, &new] {
            std::fs::write(path, b"half").expect("written");
        }
        let file = File::options().write(true).open(&old).expect("opened");
        file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).expect("set");
        replace(&directory.path().join("file"), PUBLIC, |_| Ok(())).expect("written");
        assert!(!old.exists() && new.exists());
    }
}
