//! What only this machine's hubcap knows, by which it knows again what it has written into a store to which others can write.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::replace::{PRIVATE, replace};

/// In bytes; each is written as two digits.
const LENGTH: usize = 32;

/// The secret of a state directory, made where there is none that is this user's alone; `None` where it cannot be kept.
pub(crate) fn of(state: &Path) -> Option<String> {
    let path = state.join("secret");
    read(&path).or_else(|| match make(&path) {
        Ok(secret) => Some(secret),
        Err(error) => {
            tracing::debug!(target: "hubcap::secret", "{error:#}");
            None
        }
    })
}

/// Another user could know one that he has put there, or has been able to read.
fn read(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    let is_ours = found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    let secret = is_ours.then(|| fs::read_to_string(path).ok())??;
    (secret.len() == 2 * LENGTH).then_some(secret)
}

fn make(path: &Path) -> anyhow::Result<String> {
    let mut random = [0; LENGTH];
    // So few bytes come at once (getrandom(2)).
    getrandom(&mut random, GetRandomFlags::empty())?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(path))?;
    replace(path, PRIVATE, |mut file| Ok(file.write_all(secret.as_bytes())?))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_state_directory_has_one_secret_until_others_may_know_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let secret = of(&state);
        assert_eq!(secret.as_ref().map(String::len), Some(2 * LENGTH));
        assert_eq!(of(&state), secret);
        let path = state.join("secret");
        assert_eq!(fs::metadata(&path).expect("kept").mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("widened");
        assert_ne!(of(&state), secret);
    }

    #[test]
    fn what_cannot_be_kept_is_no_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        assert_eq!(of(&file.join("state")), None);
    }
}
