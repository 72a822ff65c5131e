//! Where hubcap answers, as a client has to be told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A running hubcap, seen from its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// HTTPS.
    pub address: SocketAddr,
    /// The local CA's certificate.
    pub ca: PathBuf,
}

impl Mirror {
    /// A mirror on `listen`; one that listens everywhere is reached on this machine's loopback.
    pub fn new(listen: SocketAddr, ca: PathBuf) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { address: SocketAddr::new(ip, listen.port()), ca }
    }

    /// `https://127.0.0.1:5443`
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}
