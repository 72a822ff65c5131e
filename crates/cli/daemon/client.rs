//! Asks the daemon over its admin socket, as HTTP/1.0: an answer ends with its connection.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_admin::{Refusal, Status, missing, pull, socket};
use hubcap_cache::RequestLog;
use hubcap_cache::carry::Saved;
use hubcap_cache::prefetch::Image;
use hubcap_oci::{Digest, ImageRef, Platform};
use tokio::net::unix::UCred;

/// How long the daemon may take for its status, and for each write of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the daemon may take to save: what it waits for has bounds, 65 s in all.
const SAVING: Duration = Duration::from_secs(120);
/// How often a daemon that breaks off is asked again, and after which pause.
const TRIES: usize = 5;
/// The same where each takes 5 s.
const SILENT_TRIES: usize = 1;
const PAUSE: Duration = Duration::from_millis(50);
/// How often a daemon that still takes something in is looked at.
const LOOK: Duration = Duration::from_millis(20);
const OTHER_VERSION: &str = "the daemon is of another version; stop it, and start this one";

/// How the daemon of this state directory is.
///
/// # Errors
/// When none answers within 5 s, or one of another version does.
pub(crate) fn status(state: &Path) -> anyhow::Result<Status> {
    read_status(ask(state, "GET /status", &[], Some(PATIENCE))?)
}

fn read_status(answer: BufReader<UnixStream>) -> anyhow::Result<Status> {
    serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)
}

/// As [`status`], with the process that answers and its user, as the kernel has them: what a daemon says, even of itself, is only
/// as good as its user.
fn known(state: &Path) -> anyhow::Result<(Status, UCred)> {
    let (stream, peer) = socket::connect_to_known(state).with_context(|| nobody(state))?;
    Ok((read_status(ask_by(stream, "GET /status", &[], Some(PATIENCE))?)?, peer))
}

/// How the daemon is once it takes in nothing more of an earlier job, or `patience` has passed, and who answers for it. `None` when
/// none does.
pub(crate) fn settled(state: &Path, patience: Duration) -> Option<(Status, UCred)> {
    let end = Instant::now() + patience;
    loop {
        let (status, peer) = known(state).ok()?;
        if !status.restoring || Instant::now() > end {
            return Some((status, peer));
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a state directory's daemon can be asked.
pub(crate) enum Reached {
    /// It answers.
    Runs(Box<Status>),
    /// Its socket is another user's.
    OfAnother,
    /// None runs.
    None,
}

/// Asks a state directory's daemon for its status, if there is one.
///
/// # Errors
/// When it does not answer within 5 s, or is of another version.
pub(crate) fn reach(state: &Path) -> anyhow::Result<Reached> {
    let mut tries = 0;
    loop {
        match socket::connect(state) {
            Ok(_) => match status(state) {
                Ok(status) => return Ok(Reached::Runs(Box::new(status))),
                Err(error) => {
                    // One that is just being killed still accepts, and breaks off.
                    if tries >= if is_silence(&error) { SILENT_TRIES } else { TRIES } {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Reached::OfAnother),
            Err(_) => return Ok(Reached::None),
        }
        tries += 1;
    }
}

/// Whether nothing came of a daemon in time: it hangs.
fn is_silence(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Has the daemon fill its store; `told` gets each image when it is done.
///
/// # Errors
/// When none answers, it refuses, or it ends before the pull is done.
pub(crate) fn pull(
    state: &Path,
    images: &[ImageRef],
    platforms: &[Platform],
    mut told: impl FnMut(Image),
) -> anyhow::Result<()> {
    let request = pull::Request {
        images: images.iter().map(ToString::to_string).collect(),
        platforms: platforms.iter().map(ToString::to_string).collect(),
    };
    // A pull takes as long as its slowest image: its answer has no time limit.
    for line in ask(state, "POST /pull", &serde_json::to_vec(&request)?, None)?.lines() {
        match serde_json::from_str(&line?)? {
            pull::Line::Image(image) => told(image),
            pull::Line::Done(_) => return Ok(()),
        }
    }
    bail!("the daemon ended before the pull was done")
}

/// Which of these contents the image's repository is not known to have.
///
/// # Errors
/// When none answers within 5 s, or one of another version does.
pub(crate) fn missing(state: &Path, image: &ImageRef, contents: &[Digest]) -> anyhow::Result<Vec<Digest>> {
    let request = missing::Request { image: image.to_string(), contents: contents.to_vec() };
    let answer = ask(state, "POST /missing", &serde_json::to_vec(&request)?, Some(PATIENCE))?;
    serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)
}

/// Has the daemon save what the job adds to its cache service; `None` where the daemon has none.
///
/// # Errors
/// When none answers, or it refuses.
pub(crate) fn save(state: &Path) -> anyhow::Result<Option<Saved>> {
    let answer = ask(state, "POST /save", &[], Some(SAVING))?;
    serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)
}

/// What clients asked this daemon for, one request after the other.
///
/// # Errors
/// When none answers within 5 s, or one of another version does.
pub(crate) fn requests(state: &Path) -> anyhow::Result<RequestLog> {
    let answer = ask(state, "GET /requests", &[], Some(PATIENCE))?;
    serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)
}

/// Sends a request, and reads its answer up to the body. `call` is the method and the path.
fn ask(
    state: &Path,
    call: &str,
    body: &[u8],
    patience: Option<Duration>,
) -> anyhow::Result<BufReader<UnixStream>> {
    ask_by(socket::connect(state).with_context(|| nobody(state))?, call, body, patience)
}

fn nobody(state: &Path) -> String {
    format!("no daemon answers on {}", socket::path(state).display())
}

/// As [`ask`], on this connection.
fn ask_by(
    mut stream: UnixStream,
    call: &str,
    body: &[u8],
    patience: Option<Duration>,
) -> anyhow::Result<BufReader<UnixStream>> {
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!("{call} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request)?;
    let mut answer = BufReader::new(stream);
    let status = read_head(&mut answer)?;
    if status == 200 {
        return Ok(answer);
    }
    let Refusal { error } = serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)?;
    bail!("the daemon refuses `{call}` with status {status}: {error}")
}

/// The status of an answer whose head is read to its end.
fn read_head(answer: &mut impl std::io::BufRead) -> anyhow::Result<u16> {
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    // A daemon from before HTTP ends the connection without a word.
    let status = status.context(OTHER_VERSION)?;
    while line != "\r\n" {
        line.clear();
        if answer.read_line(&mut line)? == 0 {
            bail!("the daemon ended in the middle of its answer");
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_up_to_the_body() {
        let mut answer = &b"HTTP/1.0 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"[..];
        assert_eq!(read_head(&mut answer).expect("a head"), 404);
        assert_eq!(answer, b"{}");
    }

    #[test]
    fn a_daemon_that_speaks_no_http_is_of_another_version() {
        for answer in ["", "{\"version\":\"0.1.0\"}\n"] {
            let error = read_head(&mut answer.as_bytes()).expect_err("no HTTP");
            assert_eq!(error.to_string(), OTHER_VERSION);
        }
    }

    #[test]
    fn a_head_that_ends_early_is_an_error() {
        assert!(read_head(&mut &b"HTTP/1.0 200 OK\r\ncontent-"[..]).is_err());
    }
}
