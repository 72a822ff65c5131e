//! What is told during a prefetch.

use std::ops::AddAssign;

use hubcap_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, OutcomeClass};

/// What happens during a prefetch.
#[derive(Debug, Clone)]
pub enum Event {
    /// A blob of `size` bytes is on its way, and `received` bytes of it are in the store.
    Receiving {
        /// The blob.
        digest: Digest,
        /// Its bytes that are here.
        received: u64,
        /// Its length in bytes, where the upstream tells it.
        size: Option<u64>,
    },
    /// A blob is complete.
    Received {
        /// The blob.
        digest: Digest,
        /// Where it came from.
        bytes: Bytes,
    },
    /// An image is done; images are told in the order in which they were asked for.
    Image(Image),
}

/// An image, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// Its whole name.
    pub name: String,
    /// What became of it.
    pub end: End,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All of it is in the store, as far as its registry has it.
    Stored {
        /// Of its manifest, or of its index.
        digest: Digest,
        /// Where its contents came from.
        bytes: Bytes,
        /// What is odd about it, in sentences for people.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// It could not be stored as a whole.
    Failed {
        /// Why, for people.
        why: String,
    },
}

/// Where contents came from, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bytes {
    /// From the upstream.
    pub fetched: u64,
    /// In the store already.
    pub stored: u64,
}

impl Bytes {
    pub(super) fn new(outcome: Outcome, size: u64) -> Self {
        match outcome.class() {
            OutcomeClass::Miss => Self { fetched: size, stored: 0 },
            _ => Self { fetched: 0, stored: size },
        }
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.stored += other.stored;
    }
}
