//! Docker's client. It finds its dockerd as it does for its user, and so do the tools that make clusters.

use std::io::ErrorKind;
use std::process::{Command, Output};

use crate::error::Error;
use crate::piped;

/// Runs it with these arguments, whatever its exit code.
///
/// # Errors
/// [`Error::Client`] when it cannot be run.
pub(super) fn run(arguments: &[&str], stdin: Option<&[u8]>) -> Result<Output, Error> {
    piped::output(Command::new("docker").args(arguments), stdin).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::Client(
            "docker, by which a cluster's nodes are reached, is not installed: install Docker's client"
                .into(),
        ),
        _ => Error::Client(format!("docker cannot be run: {error}")),
    })
}

/// What it prints.
///
/// # Errors
/// [`Error::Client`] when it cannot be run or fails, with what it says.
pub(super) fn tell(arguments: &[&str]) -> Result<String, Error> {
    text(&run(arguments, None)?)
        .map_err(|why| Error::Client(format!("docker {}: {why}", arguments.join(" "))))
}

/// What a command printed; the error is what it says.
pub(super) fn text(output: &Output) -> Result<String, String> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
