//! The decisions: what the store answers, what an upstream is asked, and what a client is told of it.
//!
//! Below this crate are the disk ([`hubcap_store`]) and the network ([`hubcap_upstream`]), which do not know
//! each other; above it is HTTP. In the order of a request:
//!
//! - [`cache`]: the state, and what is asked of all of it.
//! - [`manifest`], [`blob`], [`tags`], [`referrers`]: the nouns of the specification, one decision each.
//! - [`freshness`]: whether a stored tag may be answered without asking; pure.
//! - [`frozen`]: tags out of a lock.
//! - [`flight`]: one fetch per content, however many clients ask.
//! - [`access`]: who may have what is private.
//! - [`refusals`]: an upstream's "no", remembered briefly.
//! - [`fill`]: the task that fetches a blob; no client stands in its way.
//! - [`fetch`]: a blob's bytes from the upstream, over as many connections as it takes.
//! - [`ranged`]: several of them at once, where an origin limits each.
//! - [`runs`]: what such a connection brought before its turn.
//! - [`read_ahead`]: an image's blobs, before they are asked for.
//! - [`restore`]: a store that comes in from an archive meanwhile.
//! - [`delivery`]: a blob's bytes to a client.
//! - [`bypass`]: a blob that the store does not take.
//! - [`tally`]: what each repository was asked for, and what it cost.
//! - [`passage`]: what is no pull, to the registry or to others, untouched.
//! - [`outcome`]: the one enum behind `Cache-Status` and the log.
//! - [`error`]: what can go wrong, as a client has to know it.
//! - [`lock`], [`on_disk`]: a mutex is locked, and the store is written to, in one way.

pub mod access;
pub mod blob;
pub mod bypass;
mod cache;
pub mod delivery;
pub mod error;
mod fetch;
mod fill;
mod flight;
pub mod freshness;
mod frozen;
mod lock;
pub mod manifest;
mod on_disk;
pub mod outcome;
pub mod passage;
mod ranged;
mod read_ahead;
pub mod referrers;
mod refusals;
mod restore;
mod runs;
pub mod tags;
pub mod tally;

pub use access::{Access, Caller};
pub use blob::{BlobContent, StoredBlob};
pub use bypass::Through;
pub use cache::{Body, Cache, Config};
pub use delivery::Delivery;
pub use error::{Error, Failure};
pub use freshness::{TagRules, Ttl};
pub use frozen::FrozenReport;
pub use hubcap_store::{Content, Restored};
pub use hubcap_upstream::{PassedBody, RateLimit, Reach};
pub use manifest::ManifestContent;
pub use outcome::{Answer, Outcome, StaleBecause};
pub use tags::TagPage;
pub use tally::{Asking, Brought, Tally};
