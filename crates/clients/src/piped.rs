//! A program that is given a text.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs a program to its end, with this on its standard input.
pub(crate) fn output(command: &mut Command, stdin: Option<&[u8]>) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // A program that ends before it has read everything says why by its exit code.
        let _ = pipe.write_all(text);
    }
    child.wait_with_output()
}
