//! Whether the hubcap that a client is to ask answers where it is to be asked, with a certificate of the CA that the client
//! is to trust. It is asked before any file is written: a client whose files name another CA or port pulls past hubcap, or
//! fails.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hubcap_clients::{Authority, Mirror, Until};
use hubcap_oci::Registry;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long the connection, and then all of an answer, may take: what listens there may be anybody's.
const PATIENCE: Duration = Duration::from_secs(5);
/// The status line of an answer is shorter.
const HEAD: usize = 12;
/// HTTPS's own port.
const HTTPS: u16 = 443;
/// The head of a proxy's answer is shorter.
const MAX_HEAD: usize = 4096;

/// Why a client must not be told of a mirror.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unverified {
    /// Nothing listens there.
    #[error("hubcap does not run at {0}")]
    Nothing(SocketAddr),
    /// What answers there is not the hubcap of this CA.
    #[error("{0}")]
    Wrong(String),
}

/// Asks for `/v2/` over TLS, and trusts this CA alone.
///
/// # Errors
/// [`Unverified`].
pub(crate) fn mirror(Mirror { address, ca }: &Mirror) -> Result<(), Unverified> {
    let address = *address;
    let stream = connect(address)?;
    let mut tls = handshake(stream, &ServerName::from(address.ip()), (address, ca))?;
    let wrong = |why: String| Unverified::Wrong(format!("what answers on {address} is not hubcap: {why}"));
    let asked = tls.write_all(b"GET /v2/ HTTP/1.1\r\nHost: hubcap\r\nConnection: close\r\n\r\n");
    asked.map_err(|error| wrong(error.to_string()))?;
    let mut head = [0; HEAD];
    tls.read_exact(&mut head).map_err(|error| wrong(error.to_string()))?;
    match head.strip_prefix(b"HTTP/1.1 ") {
        Some(b"200") => Ok(()),
        _ => Err(wrong(format!("it answers GET /v2/ with {:?}", String::from_utf8_lossy(&head)))),
    }
}

/// Has hubcap's HTTP proxy connect to a registry, and trusts this CA alone: so the proxy answers for that registry itself.
///
/// # Errors
/// [`Unverified`].
pub(crate) fn proxy(address: SocketAddr, ca: &Authority, registry: &Registry) -> Result<(), Unverified> {
    let not_for = |why: String| {
        Unverified::Wrong(format!(
            "hubcap's proxy on {address} does not answer for {registry} ({why}): start hubcap with --upstream {registry}, and \
             with --proxy-intercept {registry} if it has that flag"
        ))
    };
    let mut stream = connect(address)?;
    let (host, port) = (registry.api_host(), registry.host_and_port().1.unwrap_or(HTTPS));
    let authority = format!("{host}:{port}");
    let asked = write!(stream, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    asked.map_err(|error| not_for(error.to_string()))?;
    let head = read_head(&mut stream).map_err(|error| not_for(error.to_string()))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(not_for(head.lines().next().unwrap_or_default().to_owned()));
    }
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| not_for(error.to_string()))?;
    handshake(stream, &name, (address, ca)).map(drop).map_err(|error| not_for(error.to_string()))
}

/// The head of an answer, byte by byte: what follows is TLS.
fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn connect(address: SocketAddr) -> Result<Until<TcpStream>, Unverified> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => Unverified::Nothing(address),
        _ => Unverified::Wrong(format!("{address} cannot be reached: {error}")),
    })?;
    Ok(Until::new(stream, Some(PATIENCE)))
}

/// A handshake with a server of this name, whose certificate must be of the CA. The address and the CA are for errors.
fn handshake(
    mut stream: Until<TcpStream>,
    name: &ServerName<'static>,
    (address, ca): (SocketAddr, &Authority),
) -> Result<StreamOwned<ClientConnection, Until<TcpStream>>, Unverified> {
    let wrong = |why: String| Unverified::Wrong(why);
    let config = trusting(ca).map_err(wrong)?;
    let mut connection =
        ClientConnection::new(config, name.clone()).map_err(|error| wrong(format!("{address}: {error}")))?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return Err(wrong(reason(tls, &error, (address, ca))));
        }
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Why a handshake failed, as a user needs it.
fn reason(
    tls: Option<&rustls::Error>,
    error: &std::io::Error,
    (address, ca): (SocketAddr, &Authority),
) -> String {
    let ca = ca.path.display();
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => format!(
            "the server on {address} has a certificate of another CA than {ca}: it is another hubcap (--state names its \
             state directory) or another program"
        ),
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("the certificate of the server on {address} is not good with {ca}: {why}")
        }
        Some(rustls::Error::InvalidMessage(_)) => format!("the server on {address} does not speak TLS"),
        _ => format!("the server on {address} does not complete a TLS handshake: {error}"),
    }
}

fn trusting(ca: &Authority) -> Result<Arc<ClientConfig>, String> {
    let unusable = |why: String| format!("the CA's certificate {} cannot be used: {why}", ca.path.display());
    let pem = ca.pem().map_err(|error| error.to_string())?;
    let pem = pem.ok_or_else(|| unusable("it is not there".into()))?;
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
