//! The directory of a pack: what a cache service has, where, and what it is needed for.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use hubcap_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::layout::image_index::ImageIndex;

/// Packs that one directory names at most: what is in older ones was long not asked for, or is packed again.
pub(super) const MAX_PACKS: usize = 8;

/// Contents of which one directory says which slots are lost, at most.
pub(super) const MAX_SLOTS: usize = 256;

/// What a cache service has for jobs that share a pack. Nothing of it is verified: each content is when it comes.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// The packs that contents are in, the newest first: the one with this directory.
    pub(super) packs: Vec<Pack>,
    pub(super) images: ImageIndex,
    pub(super) contents: HashMap<Digest, Carried>,
    /// Of contents that have no entry because uploads did not end: the first slot that may be free.
    pub(super) slots: BTreeMap<Digest, u32>,
}

/// A pack, by its key in the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    pub(super) key: String,
    /// Where its head begins, in bytes.
    pub(super) begin: u64,
}

/// A content that the service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) size: u64,
    /// When it was last used, in seconds since the epoch.
    pub(super) used: u64,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An entry of its own, the `slot`-th that was tried.
    Entry { slot: u32 },
    /// In one of the packs, from this byte of its head and rest on.
    Pack { pack: usize, at: u64 },
}

/// Where a content is in the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An entry of its own: the `slot`-th that was tried, from 0 on. Others were reserved and never completed.
    Entry {
        /// The number of the try.
        slot: u32,
    },
    /// A range of a pack.
    Pack {
        /// The pack's key.
        key: String,
        /// The content's bytes.
        range: Range<u64>,
    },
}

impl Directory {
    /// Where a content is, and its length in bytes.
    pub fn find(&self, digest: &Digest) -> Option<(Location, u64)> {
        let Carried { size, place, .. } = *self.contents.get(digest)?;
        let location = match place {
            Place::Entry { slot } => Location::Entry { slot },
            Place::Pack { pack, at } => {
                let Pack { key, begin } = self.packs.get(pack)?;
                let start = begin.checked_add(at)?;
                Location::Pack { key: key.clone(), range: start..start.checked_add(size)? }
            }
        };
        Some((location, size))
    }

    /// The first slot of a content's entry that may be free: those before it were reserved and never completed.
    pub fn first_slot(&self, digest: &Digest) -> u32 {
        self.slots.get(digest).copied().unwrap_or(0)
    }

    /// The contents that the service has.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.contents.keys().copied()
    }

    /// How many contents the service has.
    pub fn len(&self) -> usize {
        self.contents.len()
    }

    /// Whether the service has nothing.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// The bytes of all contents that the service has.
    pub fn size(&self) -> u64 {
        self.contents.values().fold(0, |sum, one| sum.saturating_add(one.size))
    }

    /// The key of the pack that it stood in.
    pub fn key(&self) -> Option<&str> {
        self.packs.first().map(|pack| pack.key.as_str())
    }
}

/// A directory as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    /// Older packs, the newest first.
    pub(super) packs: Vec<Pack>,
    pub(super) images: ImageIndex,
    pub(super) contents: Vec<WrittenContent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) slots: Vec<WrittenSlot>,
}

/// A content without an entry, and the first slot that may be free.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenSlot {
    pub(super) digest: Digest,
    pub(super) slot: u32,
}

/// A content as it is written: with `slot`, or with `at`.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenContent {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) used: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
    /// The place in the list of packs; without it the content is in this pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pack: Option<usize>,
}

impl Written {
    /// As a directory that stood in `pack`. A content whose place makes no sense is left out.
    pub(super) fn read(self, pack: Pack) -> Directory {
        let packs: Vec<Pack> = std::iter::once(pack).chain(self.packs).take(MAX_PACKS).collect();
        let place = |one: &WrittenContent| match (one.slot, one.at) {
            (Some(slot), _) => Some(Place::Entry { slot }),
            (None, Some(at)) => {
                let pack = one.pack.map_or(Some(0), |older| older.checked_add(1))?;
                (pack < packs.len()).then_some(Place::Pack { pack, at })
            }
            (None, None) => None,
        };
        let read =
            |one: &WrittenContent| Some(Carried { size: one.size, used: one.used, place: place(one)? });
        let contents = self.contents.iter().filter_map(|one| Some((one.digest, read(one)?))).collect();
        let slots = self.slots.into_iter().take(MAX_SLOTS).map(|one| (one.digest, one.slot)).collect();
        Directory { packs, images: self.images, contents, slots }
    }
}
