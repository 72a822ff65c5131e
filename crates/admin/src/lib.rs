//! The control plane: health, status and commands for hubcap's own commands, as HTTP with JSON on `STATE/admin.sock`.
//!
//! It depends on the cache and the specifications' words; what it has to know of the rest is given as plain values.
//!
//! - [`socket`]: the Unix socket, for its owner alone.
//! - [`server`]: connections and their limits.
//! - [`routes`]: which path is answered by what.
//! - [`status`]: how the daemon is.
//! - [`pull`]: the store filled with images.
//! - [`missing`]: which contents a repository is not known to have.
//! - [`answer`]: JSON as an answer, errors too.

mod answer;
pub mod missing;
pub mod pull;
mod routes;
mod server;
pub mod socket;
pub mod status;

pub use answer::Refusal;
pub use routes::Admin;
pub use server::serve;
pub use socket::Socket;
pub use status::{Daemon, Status};
