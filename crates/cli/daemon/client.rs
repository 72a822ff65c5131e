//! Asks the daemon over its admin socket, as HTTP/1.0: an answer ends with its connection.

use std::io::{BufRead, BufReader, ErrorKind, Read, Take, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubcap_admin::socket::{self, ShortPath};
use hubcap_admin::{Refusal, Status, missing, pull};
use hubcap_cache::RequestLog;
use hubcap_cache::carry::Saved;
use hubcap_cache::prefetch::Image;
use hubcap_clients::Until;
use hubcap_oci::{Digest, ImageRef, Platform};
use serde::de::DeserializeOwned;
use tokio::net::unix::UCred;

/// How long the daemon may take to accept a connection, and for its status, to the end of that. Its socket may be anybody's.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer is some kB; one about all that a daemon remembers, 2,048 requests or 10,000 repositories, some MB.
const MAX_ANSWER: u64 = 64 << 20;
const MAX_HEAD: u64 = 64 << 10;
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
    parsed(ask(state, "GET /status", &[], Some(PATIENCE))?)
}

/// As [`status`], with the process that answers and its user, as the kernel has them: what a daemon says, even of itself, is only
/// as good as its user.
fn known(state: &Path) -> anyhow::Result<(Status, UCred)> {
    let (stream, peer) = socket::connect_to_known(state).with_context(|| nobody(state))?;
    Ok((parsed(ask_by(stream, "GET /status", &[], Some(PATIENCE))?)?, peer))
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
        match connect(state) {
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
            // It has accepted nothing for long.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error.into()),
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
    parsed(ask(state, "POST /missing", &serde_json::to_vec(&request)?, Some(PATIENCE))?)
}

/// Has the daemon save what the job adds to its cache service; `None` where the daemon has none.
///
/// # Errors
/// When none answers, or it refuses.
pub(crate) fn save(state: &Path) -> anyhow::Result<Option<Saved>> {
    parsed(ask(state, "POST /save", &[], Some(SAVING))?)
}

/// What clients asked this daemon for, one request after the other.
///
/// # Errors
/// When none answers within 5 s, or one of another version does.
pub(crate) fn requests(state: &Path) -> anyhow::Result<RequestLog> {
    parsed(ask(state, "GET /requests", &[], Some(PATIENCE))?)
}

/// A connection to the socket of a state directory.
///
/// # Errors
/// When nobody answers there, and [`ErrorKind::WouldBlock`] when nobody has accepted it within 5 s.
pub(super) fn connect(state: &Path) -> std::io::Result<UnixStream> {
    hubcap_clients::connect(PATIENCE, ShortPath::of(state)?.path())
}

/// What is left to read of an answer: so much at most, until its time is over.
type Answer = BufReader<Take<Until<UnixStream>>>;

/// Sends a request, and reads its answer up to the body. `call` is the method and the path.
fn ask(state: &Path, call: &str, body: &[u8], patience: Option<Duration>) -> anyhow::Result<Answer> {
    ask_by(connect(state).with_context(|| nobody(state))?, call, body, patience)
}

fn nobody(state: &Path) -> String {
    format!("no daemon answers on {}", socket::path(state).display())
}

/// As [`ask`], on this connection.
fn ask_by(stream: UnixStream, call: &str, body: &[u8], patience: Option<Duration>) -> anyhow::Result<Answer> {
    let mut stream = Until::new(stream, patience);
    let mut request = format!("{call} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request)?;
    let mut answer = BufReader::new(stream.take(MAX_ANSWER));
    let status = read_head(&mut answer)?;
    if status == 200 {
        return Ok(answer);
    }
    let Refusal { error } = parsed(answer)?;
    bail!("the daemon refuses `{call}` with status {status}: {error}")
}

/// What the body of an answer says.
fn parsed<T: DeserializeOwned>(answer: impl Read) -> anyhow::Result<T> {
    serde_json::from_str(&std::io::read_to_string(answer)?).context(OTHER_VERSION)
}

/// The status of an answer whose head is read to its end.
fn read_head(answer: &mut impl BufRead) -> anyhow::Result<u16> {
    let mut head = answer.take(MAX_HEAD);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    // A daemon from before HTTP ends the connection without a word.
    let status = status.context(OTHER_VERSION)?;
    while line != "\r\n" {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            bail!("the daemon ended in the middle of its answer");
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than an answer takes, and far less than what drips would take.
    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(10);

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

    /// What comes of a question to whoever writes this for as long as somebody reads: a list of text.
    fn told(
        patience: Duration,
        write: impl FnOnce(&mut UnixStream) -> std::io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Vec<String>> {
        let (ours, mut theirs) = UnixStream::pair()?;
        let writing = std::thread::spawn(move || {
            // What nobody has read breaks the connection off when it is closed.
            theirs.read(&mut [0; 1024]).and_then(|_| write(&mut theirs))
        });
        let told = ask_by(ours, "GET /status", &[], Some(patience)).and_then(parsed);
        let _ = writing.join();
        told
    }

    #[test]
    fn what_answers_drop_by_drop_is_given_up_as_if_it_were_silent() {
        for start in ["HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\n\r\n[", "HTTP/1.0 400 Bad\r\n\r\n{"] {
            let began = Instant::now();
            let error = told(SHORT, move |stream| {
                stream.write_all(start.as_bytes())?;
                while began.elapsed() < LONG {
                    stream.write_all(b" ")?;
                    std::thread::sleep(LOOK);
                }
                Ok(())
            });
            assert!(is_silence(&error.expect_err("no answer")) && began.elapsed() < LONG, "{start}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_not_further_than_any_daemon_writes() {
        for (start, count, end, is_read) in [
            ("HTTP/1.0 200 OK\r\na: ", MAX_HEAD / 2, "\r\n\r\n[]", true),
            ("HTTP/1.0 200 OK\r\na: ", MAX_HEAD, "\r\n\r\n[]", false),
            ("HTTP/1.0 ", MAX_HEAD, " 200\r\n\r\n[]", false),
            ("HTTP/1.0 200 OK\r\n\r\n[\"", MAX_ANSWER / 2, "\"]", true),
            ("HTTP/1.0 200 OK\r\n\r\n[\"", MAX_ANSWER, "\"]", false),
        ] {
            let told = told(LONG, move |stream| {
                stream.write_all(start.as_bytes())?;
                stream.write_all(&vec![b'a'; usize::try_from(count).unwrap_or_default()])?;
                stream.write_all(end.as_bytes())
            });
            assert_eq!(told.is_ok(), is_read, "{start}{count}");
        }
        let refused = told(LONG, |stream| {
            stream.write_all(b"HTTP/1.0 400 Bad\r\n\r\n{\"error\": \"")?;
            stream.write_all(&vec![b'a'; usize::try_from(MAX_ANSWER).unwrap_or_default()])?;
            stream.write_all(b"\"}")
        });
        assert_eq!(refused.expect_err("refused").to_string(), OTHER_VERSION);
    }
}
