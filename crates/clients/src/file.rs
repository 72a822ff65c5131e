//! Reading and replacing files of others, as root where that is needed.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fs_err as fs;

use crate::Error;

/// For files that nobody had before: clients read them, perhaps as other users.
const MODE: u32 = 0o644;

/// The file that a path means: what replaces a link would cut it off from what it leads to.
pub(crate) fn resolved(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}

/// A file's text; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // It may not even be there: only root can tell.
            match as_root(path, "if [ -e \"$1\" ]; then cat -- \"$1\"; else exit 44; fi", None)? {
                Output { status, .. } if status.code() == Some(44) => return Ok(None),
                output => output.stdout,
            }
        }
        Err(error) => return Err(named(path, &error)),
    };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Error::NotUnderstood { path: path.to_owned(), why: "it is not text".into() })
}

/// Replaces a file in one step, its owner and mode kept. `None` removes it.
pub(crate) fn replace(path: &Path, text: Option<&str>) -> Result<(), Error> {
    let done = match text {
        Some(text) => write(path, text),
        None => std::fs::remove_file(path).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let script = match text {
                Some(_) => {
                    "set -e; new=\"$1.hubcap-new\"; mkdir -p -- \"$(dirname -- \"$1\")\"; rm -f -- \"$new\"; \
                     umask 022; cat >\"$new\"; \
                     if [ -e \"$1\" ]; then chmod --reference=\"$1\" -- \"$new\"; chown --reference=\"$1\" -- \"$new\"; fi; \
                     mv -f -- \"$new\" \"$1\""
                }
                None => "rm -f -- \"$1\"",
            };
            as_root(path, script, text).map(drop)
        }
        Err(error) => Err(named(path, &error)),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".hubcap-new");
    let new = PathBuf::from(new);
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
    let written = (|| {
        file.write_all(text.as_bytes())?;
        match std::fs::metadata(path) {
            Ok(old) => {
                file.set_permissions(old.permissions())?;
                // Only root can give a file away; others own what they may replace, or their directory does.
                let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
            }
            Err(_) => file.set_permissions(std::fs::Permissions::from_mode(MODE))?,
        }
        file.sync_all()?;
        std::fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// The directories above a file that are not there yet, the outermost first.
pub(crate) fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let mut found: Vec<PathBuf> = path.ancestors().skip(1).take_while(missing).map(Path::to_owned).collect();
    found.reverse();
    found
}

/// Removes a directory that has nothing in it; one that has stays.
pub(crate) fn remove_empty_directory(path: &Path) {
    if let Err(error) = std::fs::remove_dir(path)
        && error.kind() == ErrorKind::PermissionDenied
    {
        let _ = as_root(path, "rmdir -- \"$1\" 2>/dev/null || true", None);
    }
}

/// Sends SIGHUP, which is how daemons are asked to read their files again.
pub(crate) fn hang_up(pid: rustix::process::Pid) -> Result<(), Error> {
    match rustix::process::kill_process(pid, rustix::process::Signal::HUP) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
            as_root(&process, "kill -HUP \"${1#/proc/}\"", None).map(drop)
        }
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

/// Has systemd do something, as root.
pub(crate) fn systemctl(words: &[&str]) -> Result<(), Error> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("systemctl")
    } else {
        let mut command = Command::new("sudo");
        command.args(["-n", "systemctl"]);
        command
    };
    let failed = |why: &str| Error::Client(format!("systemctl {}: {why}", words.join(" ")));
    let output =
        command.args(words).stdin(Stdio::null()).output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim())) }
}

/// Runs a shell script on a path by sudo, which must not ask anything.
fn as_root(path: &Path, script: &str, stdin: Option<&str>) -> Result<Output, Error> {
    let rights = |why: String| Error::Rights { path: path.to_owned(), why };
    if rustix::process::geteuid().is_root() {
        return Err(rights("even root is refused".into()));
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "sh", "-c", script, "sh"]).arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| rights(format!("sudo cannot be run ({error})")))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // A script that ends early tells why by its exit code.
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child.wait_with_output()?;
    match output.status.code() {
        Some(0 | 44) => Ok(output),
        _ => Err(rights(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn named(path: &Path, error: &std::io::Error) -> Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display())).into()
}
