//! dockerd's own API, on its socket: HTTP/1.0, so that an answer ends with its connection.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::peer::{self, Until};

/// How long an answer may take, to its end. A pull of the proof, and its fall-through to Docker Hub where the mirror is not
/// asked, take the longest.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer is some kB; a daemon with a thousand images says no more than this either.
const MAX_ANSWER: u64 = 16 << 20;

/// The sockets on which no answer came in time. A command asks a dockerd several things, at several places: one that hangs is
/// waited for once, as the action's last step has four minutes for all.
static SILENT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// An answer's status and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks, with no body. A dockerd that was silent once is not asked again.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> std::io::Result<Answer> {
    ask_within(PATIENCE, socket, method, path)
}

fn ask_within(patience: Duration, socket: &Path, method: &str, path: &str) -> std::io::Result<Answer> {
    let silent = || SILENT.lock().unwrap_or_else(PoisonError::into_inner);
    if silent().iter().any(|one| one == socket) {
        return Err(Error::new(ErrorKind::TimedOut, "it did not answer before, and is not asked again"));
    }
    let answer = exchange(patience, socket, &format!("{method} {path}"));
    if !answer.as_ref().is_err_and(is_time_out) {
        return answer;
    }
    // A pull is as slow as a registry, and says nothing of dockerd.
    if method == "GET" {
        silent().push(socket.to_owned());
    }
    Err(Error::new(ErrorKind::TimedOut, format!("it did not answer within {} s", patience.as_secs())))
}

/// The kind is of a socket whose time is over.
fn is_time_out(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

fn exchange(patience: Duration, socket: &Path, question: &str) -> std::io::Result<Answer> {
    let mut stream = Until::new(peer::connect(patience, socket)?, Some(patience));
    write!(stream, "{question} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let strange = || Error::other("what answers there is not dockerd");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(strange)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// A connection to a socket.
pub(super) fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    peer::connect(PATIENCE, socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

    use super::*;

    /// Far more than a question takes that is not waited for, and far less than a dockerd would drip.
    const SHORT: Duration = Duration::from_millis(200);
    const MUCH: Duration = Duration::from_secs(20);

    /// Asks twice, and tells how both ended.
    fn ask_twice(socket: &Path, method: &str) -> [Error; 2] {
        let began = Instant::now();
        let told = [(); 2].map(|()| ask_within(SHORT, socket, method, "/info").expect_err("silent"));
        assert!(began.elapsed() < MUCH, "{told:?}");
        told
    }

    #[test]
    fn a_dockerd_that_drips_its_answer_is_silent_and_not_asked_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let questions = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a question");
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{").expect("written");
            // As long as somebody reads.
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            listener.set_nonblocking(true).expect("set");
            listener
        });
        let [first, second] = ask_twice(&socket, "GET");
        assert!(first.to_string().contains("did not answer within"), "{first}");
        assert!(second.to_string().contains("is not asked again"), "{second}");
        let listener = questions.join().expect("ended");
        assert!(listener.accept().is_err_and(|error| is_time_out(&error)), "asked once");
    }

    #[test]
    fn a_dockerd_that_accepts_nothing_is_given_up_however_full_its_queue_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("docker.sock");
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("made");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&socket).expect("a name")).expect("bound");
        rustix::net::listen(&listener, 0).expect("listens");
        let _first = peer::connect(SHORT, &socket).expect("it fills the queue");
        ask_twice(&socket, "GET");
    }

    #[test]
    fn a_slow_pull_says_nothing_of_dockerd() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("docker.sock");
        let _listener = UnixListener::bind(&socket).expect("bound");
        for error in ask_twice(&socket, "POST") {
            assert!(error.to_string().contains("did not answer within"), "{error}");
        }
    }
}
