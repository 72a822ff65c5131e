//! dockerd's own API, on its socket: HTTP/1.0, so that an answer ends with its connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A pull of the proof, and its fall-through to Docker Hub where the mirror is not asked, take the longest.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer is some kB; a daemon with a thousand images says no more than this either.
const MAX_ANSWER: u64 = 16 << 20;

/// An answer's status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks, with no body.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let strange = || std::io::Error::other("what answers there is not dockerd");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(strange)?;
    Ok(Answer { status, body: body.to_owned() })
}
