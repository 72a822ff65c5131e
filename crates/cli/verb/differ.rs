//! `hubcap differ`: unpacks layers for containerd, over a Unix socket, in a process of its own.
//!
//! Two processes, so that somebody always listens: one holds the socket and starts the other, which answers, again when it has
//! ended. systemd can be the first one.

mod api;
mod end;
mod holder;
mod peer;
mod request;
mod service;

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener as Socket;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::{UnixListener, UnixStream};

use self::peer::Peer;
use self::request::System;
use self::service::Service;
use crate::args::Differ;
use crate::signals::Signals;
use crate::{compose, limits};

/// How long an error of `accept` lasts, at least: no more open files, for example.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections wait, at most: containerd has one.
const BACKLOG: i32 = 128;

/// Serves until SIGTERM or SIGINT, then finishes the layers that were begun. Or ends another one.
pub(crate) fn run(flags: &Differ) -> anyhow::Result<ExitCode> {
    if flags.end {
        end::end(&flags.socket)?;
        return Ok(ExitCode::SUCCESS);
    }
    if flags.background {
        // It fails only where this process leads a session already.
        let _ = rustix::process::setsid();
    }
    let runtime = compose::runtime()?;
    if flags.socket == Path::new("-") {
        limits::raise_open_files();
        runtime.block_on(serve(flags))?;
    } else {
        runtime.block_on(holder::hold(flags))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves on the socket that is standard input.
async fn serve(flags: &Differ) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    anyhow::ensure!(
        socket_acceptconn(&socket).unwrap_or(false),
        "standard input is no listening socket; name a path for --socket, or let systemd pass one"
    );
    // Now the kernel names this process, not the one that made the socket, to who connects: `--end` finds it so.
    rustix::net::listen(&socket, BACKLOG)?;
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket)?;
    let user_namespace = request::in_user_namespace();
    let service = Service::new(System { containerd_root: flags.containerd_root.clone(), user_namespace });
    loop {
        tokio::select! {
            () = signals.next() => break,
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => drop(tokio::spawn(answer(connection, service.clone()))),
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    service.finish().await;
    Ok(())
}

async fn answer(connection: UnixStream, service: Service) {
    let service = service.of(Peer::of(&connection));
    let service = service_fn(move |request| service.clone().answer(request));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection has ended: {error}");
    }
}
