//! The words of the OCI image and distribution specifications: no I/O, no async.
//!
//! Everything that comes from outside is parsed here once, at the edge; past this crate there are
//! typed values, no strings.
//!
//! In the order of a request:
//!
//! - [`endpoint`]: method and path to [`Endpoint`], and back.
//! - [`page`]: [`Page`], a part of a list.
//! - [`query`]: the pairs of a query, decoded and encoded.
//! - [`registry`]: [`Registry`], its form in a path, [`RegistryPattern`].
//! - [`name`]: [`Repository`], [`Tag`].
//! - [`referrer`]: [`Referrer`], an entry of a list of referrers.
//! - [`mod@reference`]: [`Reference`] (tag or digest) and [`ImageRef`], what a user types.
//! - [`digest`]: [`Digest`], [`Algorithm`], [`Verifier`].
//! - [`json`]: others' documents, read as their clients read them.
//! - [`descriptor`]: [`Descriptor`], media types.
//! - [`platform`]: [`Platform`], and what runs on which.
//! - [`manifest`]: [`Manifest`], the bytes as received and the links in them.
//! - [`compression`]: [`Compression`], of layers and archives.
//! - [`select`]: which of an index's manifests are for a platform.
//! - [`pattern`]: [`Pattern`], the images that a rule is for.
//! - [`range`]: `Range` and `Content-Range`.
//! - [`error`]: the specification's error codes and JSON body.

pub mod compression;
pub mod descriptor;
pub mod digest;
pub mod endpoint;
pub mod error;
pub mod json;
pub mod manifest;
pub mod name;
pub mod page;
pub mod pattern;
pub mod platform;
pub mod query;
pub mod range;
pub mod reference;
pub mod referrer;
pub mod registry;
pub mod select;

pub use compression::Compression;
pub use descriptor::{Descriptor, media_type};
pub use digest::{Algorithm, Digest, Verifier};
pub use endpoint::Endpoint;
pub use error::ErrorCode;
pub use manifest::{Link, Links, Manifest};
pub use name::{Repository, Tag};
pub use page::Page;
pub use pattern::Pattern;
pub use platform::Platform;
pub use range::{ByteRange, RangeRequest, RangeSpec, Selection};
pub use reference::{ImageRef, Reference, Target};
pub use referrer::Referrer;
pub use registry::{Registry, RegistryPattern};

/// Why a string from outside is not one of the words of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: {why}")]
pub struct ParseError {
    /// The word that was expected, as a reader knows it: "digest", "repository", ...
    pub what: &'static str,
    /// What was given, cut to 128 characters so that no log line is at a stranger's mercy.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl ParseError {
    pub(crate) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(128).collect(), why }
    }
}
