//! `hubcap health`: whether the daemon answers, for a container's health check and for scripts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubcap_clients::reachable;

use crate::settings::Config;

const PATIENCE: Duration = Duration::from_secs(2);

/// Asks plain HTTP where that is on, else HTTPS.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let address = match config.http_listen {
        // `/v2/`, end-1 of the specification.
        Some(http) => {
            ask(http, b"GET /v2/ HTTP/1.1\r\nHost: hubcap\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 ")?
        }
        None => answers_https(config.listen)?,
    };
    println!("hubcap answers on {address}");
    Ok(ExitCode::SUCCESS)
}

/// Whether a TLS server answers a greeting. It is no handshake, which would need the CA: a record that no server
/// accepts, and every TLS server answers with an alert (RFC 8446, section 6).
pub(crate) fn answers_https(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask(address, &[0x16, 3, 1, 0, 4, 1, 0, 0, 0], &[0x15])
}

fn ask(address: SocketAddr, question: &[u8], expected: &[u8]) -> anyhow::Result<SocketAddr> {
    let address = reachable(address);
    let none = || format!("no hubcap answers on {address}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(none)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(question).with_context(none)?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).with_context(none)?;
    if answer != expected {
        bail!("what answers on {address} is not a hubcap");
    }
    Ok(address)
}
