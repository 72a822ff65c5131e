//! The network: registries that hubcap may pull from. Nothing else opens outbound connections.
//!
//! In the order of a request:
//!
//! - [`config`], [`upstreams`], [`built_in`]: the registries that may be asked, and those that need no configuration.
//! - [`origin`], [`speed`]: one place that has a registry's contents, and how it has behaved.
//! - [`registry`]: the pull side of the distribution specification, as a client.
//! - [`auth`]: challenge to token (distribution's token specification), cached.
//! - [`credentials`]: what the operator gave, or Docker's own configuration file and helpers.
//! - [`owner`]: the hosts to which a registry's login belongs.
//! - [`request`], [`transport`], [`connection`]: one request, its time limits, and the connection that it goes over.
//! - [`redirect`], [`address`]: where a redirect leads, and to which addresses a request may go.
//! - [`plain`]: the client for plain HTTP.
//! - [`status`], [`body`], [`coding`], [`link`], [`ratelimit`]: how an answer is read. [`memory`]: how much of it at a time.
//! - [`fetch`]: the one engine that fetches a blob or an archive: it resumes, and uses several connections.
//! - [`archive`]: a store that an earlier job has saved.
//! - [`actions_cache`]: the service that keeps what earlier jobs have saved, entry by entry.
//! - [`passthrough`], [`tunnel`]: a client's own request to a registry, and its own TLS to any host, as they are.
//! - [`shortcut`]: whether HEADs and ranges help at an origin.
//! - [`circuit`]: a circuit breaker, which is open while an upstream fails. [`circuits`]: for whom, and for which repository.
//! - [`error`]: what an answer means for the caller.

pub mod actions_cache;
mod address;
mod archive;
mod auth;
mod body;
mod built_in;
mod byteranges;
mod circuit;
mod circuits;
mod coding;
mod config;
mod connection;
mod credentials;
mod error;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod link;
mod look_up;
mod memory;
mod origin;
mod owner;
mod passthrough;
mod plain;
mod ratelimit;
mod redirect;
mod registry;
mod request;
mod shortcut;
mod speed;
mod status;
mod transport;
mod tunnel;
mod upstreams;

pub use address::AddressPolicy;
pub use body::BlobBody;
pub use built_in::{default_url, is_built_in};
pub use byteranges::RangesBody;
pub use circuit::CircuitState;
pub use config::{Config, OriginConfig, UpstreamConfig};
pub use credentials::{Credentials, Secret};
pub use error::{Absence, Error};
pub use fetch::in_order::InOrder;
pub use fetch::limit::ConnectionLimit;
pub use fetch::parallel::FirstConnection;
pub use fetch::resume::Fetch;
pub use fetch::source::{Next, Piece, Source};
pub use memory::{Room, SMALL_DOCUMENT, room_for_kept};
pub use origin::OriginState;
pub use ratelimit::RateLimit;
pub use registry::{ManifestBody, Others, Permission, ReferrerList, RegistryBlob, TagList, Upstream};
pub use shortcut::Shortcut;
pub use upstreams::Upstreams;
