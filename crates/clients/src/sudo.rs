//! Root's rights, by a sudo that asks for no password.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use crate::error::Error;
use crate::piped;

/// The exit code by which a script says that there is no such file.
pub(crate) const NO_FILE: i32 = 44;

const ROOT: u32 = 0;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Who called `sudo`.
pub(crate) fn caller() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

/// Whether what this user has made may decide which file is changed: root's, this user's own, and who called `sudo`.
pub fn trusts(user: u32) -> bool {
    user == ROOT || user == rustix::process::geteuid().as_raw() || is_root() && caller() == Some(user)
}

/// Whether this is root, who acts on nothing that this user says or has made.
pub fn mistrusts(user: u32) -> bool {
    is_root() && !trusts(user)
}

/// A program that is run as root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(program);
    command
}

/// Runs a shell script as root. The script finds `path` as `$1`, and `stdin` on its standard input.
///
/// # Errors
/// [`Error::Rights`], which names `path`, when sudo or the script fails, or when this is root already.
pub(crate) fn run(path: &Path, script: &str, stdin: Option<&[u8]>) -> Result<Output, Error> {
    let rights = |why: String| Error::Rights { path: path.to_owned(), why };
    if is_root() {
        return Err(rights("even root is refused".into()));
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "sh", "-c", script, "sh"]).arg(path);
    let output = piped::output(&mut command, stdin)
        .map_err(|error| rights(format!("sudo cannot be run ({error})")))?;
    match output.status.code() {
        Some(0 | NO_FILE) => Ok(output),
        _ => Err(rights(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
