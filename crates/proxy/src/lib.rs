//! HTTP in: what a client asks, and what it is told. What to answer is decided below, in [`hubcap_cache`].
//!
//! In the order of a request:
//!
//! - [`server`]: opens the listeners, runs them, and drains them at the end.
//! - [`listen`], [`workers`]: accepts connections; each is a task of one worker thread. [`connections`]: how many are open, and
//!   which one is closed for a new one.
//! - [`protocol`]: what a listener's connections speak: HTTP, HTTPS, CONNECT. [`network`]: who may speak to a bridge's.
//! - [`tls`], [`ca`]: a local CA, and a leaf certificate signed by it.
//! - [`connect`]: an HTTP proxy for clients that know no mirror of a registry: it intercepts registries, and opens tunnels to
//!   other hosts.
//! - [`http1`]: the requests of a connection, and the limits of both.
//! - [`host`]: the names that hubcap is asked by; a stranger's web page has another.
//! - [`router`]: a request to an endpoint, and the answer of each endpoint.
//! - [`resolve`]: which registry's repository a request means.
//! - [`api`]: an answer's headers and body for each endpoint, and the one place where an error becomes a status.
//! - [`flow`]: how fast a client takes its answers.
//! - [`access_log`], [`cut`]: the log line at the end of a body, and how a body that fails ends.

mod access_log;
mod api;
mod ca;
mod connect;
mod connections;
mod cut;
mod error;
mod flow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod http1;
mod listen;
mod network;
mod protocol;
mod resolve;
mod router;
mod server;
mod tls;
mod workers;

pub use api::probe::PROBE_IMAGE;
pub use ca::certificate_path;
pub use error::Error;
pub use host::HostName;
pub use listen::DRAIN;
pub use server::{Bound, Config, ConnectConfig, bind, prepare_authority};
