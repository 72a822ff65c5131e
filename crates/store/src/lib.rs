//! The disk: a content-addressed store in a standard OCI image layout.
//!
//! In the order of a content's life:
//!
//! - [`Layout`]: the store as files, beside a daemon or without one: which file is where, what is in it, its key, its
//!   verification.
//! - [`mod@lock`]: one process at a time.
//! - [`ingest`]: a content that is being written; [`Ingest::commit`] is the only way into `blobs/`.
//! - [`content`]: reading one, committed or still growing.
//! - [`memory`]: how many bytes of contents ingests hold in memory together.
//! - [`index`]: sled; quick answers to "who may have this" and "what does this tag mean"; filled from the layout
//!   whenever it is missing or corrupt.
//! - [`catalog`]: what an open store knows of itself, and how a content is added, read and removed.
//! - [`evict`]: limits, room that is reserved before bytes are written, and what goes when room is needed.
//! - [`reopen`]: what happens when the store is removed while it is open.
//! - [`store`]: the open store, on top of all that.
//! - [`pack`]: a store in a cache service.
//! - [`archive`]: images as files, as `docker save` writes them and `docker load` reads them; a store from its archive.

mod archive;
mod boot;
mod bounded;
mod catalog;
mod content;
mod error;
mod evict;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hash;
mod index;
mod ingest;
mod layout;
mod lock;
mod memory;
mod mutex;
mod pack;
mod permissions;
mod reopen;
mod replace;
mod store;
mod validation;

pub use archive::export::{Availability, CompleteImage, Format};
pub use archive::import::Imported;
pub use archive::restore::Restored;
pub use boot::rely_on_what_is_noted_with;
pub use content::Content;
pub use content::growth::{AbortReason, Progress, ReadError};
pub use content::reader::{HOLD_BACK, Reader};
pub use error::Error;
pub use evict::limits::{Limit, Limits};
pub use evict::plan::{Reason, Removal};
pub use evict::{Prune, Wanted};
pub use index::TagEntry;
pub use ingest::{Aborter, Ingest};
pub use layout::list::StoredImage;
pub use layout::verify::{Finding, Report};
pub use layout::{Durability, Layout};
pub use pack::LARGE;
pub use pack::directory::{Directory, Location};
pub use pack::read::Head;
pub use pack::write::{NewPack, Saving};
pub use store::{Options, Store, StoredReferrers};
pub use validation::{Moment, Validation};
