//! A program that is given a text, and does not keep its caller waiting for ever.

use std::io::{Error, ErrorKind, Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long such a program may take: a dockerd that hangs takes as long to be given up.
const LONGEST: Duration = Duration::from_secs(60);
const LOOKS: Duration = Duration::from_millis(2);
/// What is read of each of its outputs: as much as of a file. A program that writes more finds nobody who reads it.
const MOST: u64 = 16 << 20;

/// Runs a program to its end, with this on its standard input.
///
/// # Errors
/// [`ErrorKind::TimedOut`] when it has not ended after a minute, and was killed.
pub(crate) fn output(command: &mut Command, stdin: Option<&[u8]>) -> std::io::Result<Output> {
    output_within(command, stdin, LONGEST)
}

fn output_within(command: &mut Command, stdin: Option<&[u8]>, longest: Duration) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin.map(<[u8]>::to_vec)) {
        // A program that ends before it has read everything says why by its exit code.
        thread::spawn(move || pipe.write_all(&text));
    }
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let end = Instant::now() + longest;
    while !stdout.is_finished() || !stderr.is_finished() || child.try_wait()?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            let why = format!("it has not ended after {} s", longest.as_secs());
            return Err(Error::new(ErrorKind::TimedOut, why));
        }
        thread::sleep(LOOKS);
    }
    let all = |reading: thread::JoinHandle<Vec<u8>>| reading.join().unwrap_or_default();
    Ok(Output { status: child.wait()?, stdout: all(stdout), stderr: all(stderr) })
}

fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|pipe| pipe.take(MOST).read_to_end(&mut bytes));
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_given_its_text_and_says_what_it_has_to() {
        let text = vec![b'x'; 1 << 20];
        let output =
            output(Command::new("sh").args(["-c", "cat; echo no >&2; exit 3"]), Some(&text)).expect("run");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(3), b"no\n".as_slice()));
        assert_eq!(output.stdout, text);
    }

    #[test]
    fn a_program_that_writes_without_end_is_not_read_without_end() {
        let output = output(&mut Command::new("yes"), None).expect("run");
        assert!(!output.status.success() && output.stdout.len() as u64 == MOST, "{}", output.status);
    }

    #[test]
    fn a_program_that_hangs_is_given_up_though_another_one_holds_its_output() {
        for script in ["exec sleep 5", "sleep 5 & exit 0"] {
            let mut command = Command::new("sh");
            let given_up = output_within(
                command.args(["-c", script]),
                Some(&[b'x'; 1 << 20]),
                Duration::from_millis(200),
            );
            assert_eq!(given_up.expect_err("no end").kind(), ErrorKind::TimedOut, "{script}");
        }
    }
}
