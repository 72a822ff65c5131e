//! Paths: where a file is behind links, and which directories above it are there.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sudo;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// The file that a path means, by a name that stays the same when the file is made or the working directory changes.
/// Replacing a symbolic link itself would cut it off from its target, which may not be there yet.
pub(crate) fn resolved(path: PathBuf) -> PathBuf {
    let mut path = std::path::absolute(&path).unwrap_or(path);
    for _ in 0..MAX_LINKS {
        let target = path.parent().and_then(|parent| Some(parent.join(std::fs::read_link(&path).ok()?)));
        match target {
            Some(target) => path = target,
            None => break,
        }
    }
    if let Ok(found) = std::fs::canonicalize(&path) {
        return found;
    }
    // It is not there: then the directory that is, and what is to be made in it.
    let above = |dir: &Path| Some(std::fs::canonicalize(dir).ok()?.join(path.strip_prefix(dir).ok()?));
    path.ancestors().skip(1).find_map(above).unwrap_or(path)
}

/// As [`resolved`], for a file that is to be changed.
///
/// # Errors
/// As [`refuse_links_of_others`].
pub(crate) fn followed(path: PathBuf) -> Result<PathBuf, Error> {
    refuse_links_of_others(&path)?;
    Ok(resolved(path))
}

/// Refuses a file that is reached by a link of another user.
///
/// # Errors
/// [`Error::NotUnderstood`], which names the link.
pub(crate) fn refuse_links_of_others(path: &Path) -> Result<(), Error> {
    let Some((link, owner)) = link_of_another(path) else { return Ok(()) };
    let why = format!(
        "{} is a link of user {owner}, who could have any file changed by it: change the file by hand, or remove the link",
        link.display()
    );
    Err(Error::not_understood(path, why))
}

/// The first link on the way to a file that a user has made who is not [trusted](sudo::trusts), and that user.
pub(crate) fn link_of_another(path: &Path) -> Option<(PathBuf, u32)> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let from_root: Vec<&Path> = path.ancestors().collect();
        let (link, owner) = from_root.into_iter().rev().find_map(|above| {
            let found = above.symlink_metadata().ok()?;
            found.is_symlink().then(|| (above.to_owned(), found.uid()))
        })?;
        if !sudo::trusts(owner) {
            return Some((link, owner));
        }
        let target = link.parent()?.join(std::fs::read_link(&link).ok()?);
        // By components, as a slash at the end would have the next link followed.
        path = target.components().chain(path.strip_prefix(&link).ok()?.components()).collect();
    }
    None
}

/// The directories above a file that are not there yet, the outermost first.
pub(crate) fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !exists(dir);
    let mut found: Vec<PathBuf> = path.ancestors().skip(1).take_while(missing).map(Path::to_owned).collect();
    found.reverse();
    found
}

/// Whether a directory is there; one that nobody lets us look for is, so that it is never removed as one of ours.
fn exists(dir: &Path) -> bool {
    match dir.try_exists() {
        Ok(exists) => exists,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let script = format!("[ -e \"$1\" ] || exit {}", sudo::NO_FILE);
            !sudo::run(dir, &script, None).is_ok_and(|output| output.status.code() == Some(sudo::NO_FILE))
        }
        Err(_) => false,
    }
}

/// Removes directories that hubcap made and that are empty, the innermost first: a file that was configured later may be in
/// a directory that an earlier one needed.
pub(crate) fn remove_empty_directories(mut made: Vec<PathBuf>) {
    made.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    made.dedup();
    for dir in made {
        if let Err(error) = std::fs::remove_dir(&dir)
            && error.kind() == ErrorKind::PermissionDenied
        {
            let _ = sudo::run(&dir, "rmdir -- \"$1\" 2>/dev/null || true", None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_has_one_name_before_and_after_it_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let real = dir.path().canonicalize().expect("there").join("real");
        std::fs::create_dir(&real).expect("made");
        symlink(&real, dir.path().join("link")).expect("linked");
        symlink("link/one", dir.path().join("chain")).expect("linked");
        symlink("chain", dir.path().join("chained")).expect("linked");
        for (name, file) in [
            ("link/a/b", "a/b"),
            ("chain", "one"),
            ("chained", "one"),
            ("link/../link/c", "c"),
            ("real/d", "d"),
        ] {
            let file = real.join(file);
            assert_eq!(resolved(dir.path().join(name)), file, "{name}");
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            std::fs::write(&file, "").expect("made");
            assert_eq!(resolved(dir.path().join(name)), file, "{name}");
        }
        assert!(resolved("relative".into()).is_absolute());
    }

    #[test]
    fn links_in_a_circle_are_left_as_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        symlink(&one, &other).expect("linked");
        symlink(&other, &one).expect("linked");
        assert!(resolved(one).starts_with(dir.path().canonicalize().expect("there")));
    }
}
