//! The decisions: what the store answers, what an upstream is asked, and what a client is told of it.
//!
//! Below this crate are the disk ([`hubcap_store`]) and the network ([`hubcap_upstream`]), which do not know
//! each other; above it is HTTP. In the order of a request:
//!
//! - [`cache`]: the state, and what is asked of all of it.
//! - [`manifest`], [`blob`], [`tags`], [`referrers`]: the nouns of the specification, one decision each.
//! - [`trail`]: lists in pages, from registries that lead in circles.
//! - [`freshness`]: whether a stored tag may be answered without asking; pure.
//! - [`hint`]: where a blob ends whose length nobody tells.
//! - [`removed`], [`serve_removed`]: images that their registry no longer has, and whether they are served.
//! - [`tag_lock`]: tags whose digests are locked (`--frozen`).
//! - [`flight`]: one fetch per content, however many clients ask.
//! - [`access`], [`authorization`]: who may have what is private. [`visibility`]: what is private, and for how long that is good.
//! - [`others`]: which of a registry's other origins may supply content.
//! - [`latest`]: which of several answers says what a tag means.
//! - [`once`]: asking an upstream, once for all and not in vain.
//! - [`negative`]: the negative cache, an upstream's "no" remembered briefly.
//! - [`places`]: how much runs at registries at a time.
//! - [`fill`]: the task that fetches a blob; no client stands in its way.
//! - [`prefetch`]: whole images into the store.
//! - [`read_ahead`]: an image's blobs and [`attestations`], before they are asked for.
//! - [`restore`], [`restoring`]: restoring the store from an archive while serving, and who waits for it.
//! - [`meter`]: counts of what each repository was asked for, and of what each registry sent.
//! - [`passthrough`]: what is not a pull, to the registry or to others, untouched; [`pushes`]: who pushes.
//! - [`outcome`]: the one enum behind `Cache-Status` and the log.
//! - [`error`]: what can go wrong, as a client has to know it.
//! - [`lock`], [`on_disk`]: a mutex is locked, and the store is written to, in one way.

mod access;
mod attestations;
mod authorization;
pub mod blob;
mod cache;
pub mod carry;
pub mod error;
mod fill;
mod flight;
pub mod freshness;
mod hint;
mod latest;
mod limited_map;
mod lock;
pub mod manifest;
pub mod meter;
mod negative;
mod on_disk;
mod once;
mod others;
pub mod outcome;
pub mod passthrough;
mod places;
mod plan;
pub mod prefetch;
mod pushes;
mod question;
mod read_ahead;
pub mod referrers;
pub mod removed;
mod restore;
mod restoring;
mod serve_removed;
mod stale_warning;
mod storage_warning;
mod tag_lock;
pub mod tags;
pub mod trail;
mod visibility;

pub use access::{Access, Caller};
pub use blob::body::BlobBody;
pub use blob::{Blob, BlobRequest};
pub use cache::{Cache, Config};
pub use error::{Error, Failure};
pub use freshness::{TagRules, Ttl};
pub use manifest::content::ManifestContent;
pub use meter::{
    ClientRequest, RegistryStats, RemovedImage, RepositoryStats, RequestGuard, RequestLog, Requested, Sent,
    Snapshot, TagLockReport,
};
pub use outcome::{Answer, Outcome, OutcomeClass, StaleBecause};
pub use passthrough::TunnelAddresses;
pub use removed::{OnRemoved, RemovedRules};
pub use tags::{NextPage, TagPage};
pub use trail::Trail;
