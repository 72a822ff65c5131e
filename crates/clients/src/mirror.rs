//! What a client is configured with: where hubcap answers, and for which registries it is to be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hubcap_oci::Registry;

use crate::authority::Authority;

/// Where a listener is reached from this machine: one that listens everywhere, on loopback.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A running hubcap, seen from its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// HTTPS.
    pub address: SocketAddr,
    /// The local CA's certificate.
    pub ca: Authority,
}

impl Mirror {
    /// A mirror on `listen`, as it is reached.
    pub fn new(listen: SocketAddr, ca: Authority) -> Self {
        Self { address: reachable(listen), ca }
    }

    /// Whether a client that has this URL as a mirror asks this one. dockerd writes a slash at its end.
    pub fn is_at(&self, url: &str) -> bool {
        url.trim_end_matches('/') == self.url()
    }

    /// `https://127.0.0.1:5443`
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// The registries that a client is to ask hubcap for.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// These.
    pub named: Vec<Registry>,
    /// And, where the client's files can say so, all others.
    pub every_other: bool,
}

impl From<Vec<Registry>> for Registries {
    fn from(named: Vec<Registry>) -> Self {
        Self { named, every_other: false }
    }
}
