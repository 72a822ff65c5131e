//! A client's TCP connection, which goes with its task from one event loop to another ([`crate::lanes`]).

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::lanes;

/// After so many bytes a connection is one that carries much. A read counts as [`REQUEST`].
const MUCH: usize = 32 << 20;
/// Some ten microseconds of work, as a manifest is.
const REQUEST: usize = 32 << 10;

pub(crate) struct Socket {
    stream: TcpStream,
    /// The loop whose events it is registered with.
    at: Option<usize>,
    /// Bytes since its loop was told.
    carried: usize,
}

impl Socket {
    /// On the calling thread's loop.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, at: lanes::here(), carried: 0 }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream, registered with the events of the calling thread's loop; where the system has no room for that, with those
    /// that it had, which wake it here as well.
    fn here(&mut self) -> Pin<&mut TcpStream> {
        let here = lanes::here();
        if self.at != here
            && let Ok(descriptor) = self.stream.as_fd().try_clone_to_owned()
            && let Ok(stream) = TcpStream::from_std(descriptor.into())
        {
            self.stream = stream;
            self.at = here;
        }
        Pin::new(&mut self.stream)
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.count(bytes);
        }
        written
    }

    fn count(&mut self, bytes: usize) {
        self.carried += bytes;
        if self.carried >= MUCH {
            self.carried = 0;
            lanes::carried_much();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.here().poll_read(context, into);
        if read.is_ready() {
            self.count(REQUEST);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.here().poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A send costs the system less than a writev.
        if let [piece] = pieces {
            return self.poll_write(context, piece);
        }
        let written = self.here().poll_write_vectored(context, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_carries_much_goes_over_to_an_emptier_loop_and_loses_no_byte() {
        let (lanes, _threads) = lanes::start(2).expect("event loops");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for number in 0..2_u8 {
            clients.push(TcpStream::connect(address).await.expect("a connection"));
            let (stream, _) = listener.accept().await.expect("it comes in");
            let stream = stream.into_std().expect("a socket");
            let tell = tell.clone();
            lanes.spawn(Some(0), async move {
                let mut socket = Socket::new(TcpStream::from_std(stream).expect("it is registered"));
                let mut byte = [0];
                while socket.read_exact(&mut byte).await.is_ok() {
                    socket.write_all(&byte).await.expect("an echo");
                    let _ = tell.send((number, thread::current().id()));
                }
            });
        }
        let mut on = [None; 2];
        for round in 0..=MUCH / REQUEST {
            for client in &mut clients {
                let byte = [u8::try_from(round % 251).expect("a byte")];
                client.write_all(&byte).await.expect("a question");
                let mut echo = [0];
                client.read_exact(&mut echo).await.expect("an echo");
                assert_eq!(echo, byte);
                let (number, thread) = told.recv().await.expect("who answered");
                on[usize::from(number)] = Some(thread);
            }
            if round == 0 {
                assert_eq!(on[0], on[1], "clients of one processor share a loop");
            }
        }
        assert_ne!(on[0], on[1], "one of two that carried much went over, and not the other as well");
    }
}
