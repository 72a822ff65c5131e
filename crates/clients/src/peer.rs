//! A program at the other end of a socket. It may be anybody's, and keeps nobody waiting beyond a moment.

use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// How long a daemon that does well may take to accept a connection.
pub(crate) const ACCEPTS: Duration = Duration::from_secs(5);

/// A connection to a Unix socket.
///
/// Nobody need accept a connection, but one whose queue is full keeps who connects waiting: the time-out for writing is also
/// one for that.
///
/// # Errors
/// When nobody listens there, and [`ErrorKind::WouldBlock`] when the queue stays full.
pub fn connect(patience: Duration, socket: &Path) -> Result<UnixStream> {
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&stream, Timeout::Send, Some(patience))?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream.into())
}

/// A connection that is used until a moment, however little comes or goes at a time. After it, reading and writing are
/// [`ErrorKind::WouldBlock`].
#[derive(Debug)]
pub struct Until<S> {
    stream: S,
    /// `None` for one that may take as long as it likes.
    end: Option<Instant>,
}

impl<S: AsFd> Until<S> {
    /// From now on for so long.
    pub fn new(stream: S, patience: Option<Duration>) -> Self {
        Self { stream, end: patience.map(|patience| Instant::now() + patience) }
    }

    /// Has the next call end in time.
    fn limit(&self, what: Timeout) -> Result<()> {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(set_socket_timeout(&self.stream, what, left)?)
    }
}

impl<S: AsFd + Read> Read for Until<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.limit(Timeout::Recv)?;
        self.stream.read(buffer)
    }
}

impl<S: AsFd + Write> Write for Until<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.limit(Timeout::Send)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}
