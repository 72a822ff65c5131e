//! Whether a daemon answers on an address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubcap_clients::{Until, reachable};

/// How long the connection, and then the answer, may take: what listens there may be anybody's.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for `/v2/` (end-1 of the specification) over plain HTTP. The address that answered.
///
/// # Errors
/// When nothing answers within 2 s, or with another status than 200.
pub(crate) fn http(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask(address, b"GET /v2/ HTTP/1.1\r\nHost: hubcap\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 ")
}

/// Asks whether a TLS server answers. The address that answered.
///
/// It is no handshake, which would need the CA: it sends a record that no server accepts, and every TLS server answers
/// with an alert (RFC 8446, section 6).
///
/// # Errors
/// When nothing answers within 2 s, or no TLS server.
pub(crate) fn https(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    ask(address, &[0x16, 3, 1, 0, 4, 1, 0, 0, 0], &[0x15])
}

fn ask(address: SocketAddr, question: &[u8], expected: &[u8]) -> anyhow::Result<SocketAddr> {
    let address = reachable(address);
    let none = || format!("no hubcap answers on {address}");
    let stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(none)?;
    let mut stream = Until::new(stream, Some(PATIENCE));
    stream.write_all(question).with_context(none)?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).with_context(none)?;
    if answer != expected {
        bail!("what answers on {address} is not a hubcap");
    }
    Ok(address)
}
