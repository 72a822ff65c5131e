//! Why hubcap cannot listen.

use std::io;
use std::net::SocketAddr;

/// Why hubcap cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The CA cannot be read or made.
    #[error("the local CA cannot be used: {0}")]
    Authority(#[from] io::Error),
    /// The system starts no threads for the connections.
    #[error("no thread can be started for the connections: {0}")]
    Threads(io::Error),
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}
