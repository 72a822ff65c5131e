//! What the cache service is known to have, and where.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hubcap_oci::Digest;
use hubcap_store::{Directory, Location};
use hubcap_upstream::actions_cache::{ActionsCache, CacheContent, Entry, EntryKey, Place};

use crate::lock::lock;

/// What this job knows of the service.
#[derive(Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    directory: Arc<Directory>,
    /// Entries that were needed, by their keys: each is looked up once at most.
    places: HashMap<EntryKey, Place>,
    /// Large contents that no directory names, and that another job may have saved, with their slots and where they would be.
    perhaps: HashMap<Digest, (u32, Place)>,
}

impl State {
    fn place(&mut self, service: &ActionsCache, key: &EntryKey) -> Place {
        let new = || Place::new(service.clone(), key.clone());
        self.places.entry(key.clone()).or_insert_with(new).clone()
    }

    fn locate(&mut self, service: &ActionsCache, digest: &Digest) -> Option<CacheContent> {
        let (location, size) = self.directory.find(digest)?;
        let place = self.place(service, &key_of(digest, &location));
        let range = match location {
            Location::Entry { .. } => None,
            Location::Pack { range, .. } => Some(range),
        };
        (!place.is_lost()).then(|| place.content(range, *digest, size))
    }
}

/// The entry that a content is in.
fn key_of(digest: &Digest, location: &Location) -> EntryKey {
    match location {
        Location::Entry { slot } => EntryKey::content(digest, *slot),
        Location::Pack { key, .. } => EntryKey::pack(key.clone()),
    }
}

/// Whether an entry was looked up, and is there.
fn is_there(place: &Place) -> bool {
    place.is_found() && !place.is_lost()
}

impl Known {
    /// Learns what a pack's directory says.
    pub(super) fn learn(&self, service: ActionsCache, entry: Entry, directory: Directory) {
        let mut state = lock(&self.0);
        let key = EntryKey::pack(entry.matched_key());
        state.places.insert(key, Place::found(service, entry));
        state.directory = Arc::new(directory);
    }

    /// What the newest directory says.
    pub(super) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&lock(&self.0).directory)
    }

    /// A content that the service has, unless it turned out not to.
    pub(super) fn content(&self, service: &ActionsCache, digest: &Digest) -> Option<CacheContent> {
        lock(&self.0).locate(service, digest)
    }

    /// A large content that another job may have saved.
    pub(super) fn perhaps(&self, service: &ActionsCache, digest: &Digest, size: u64) -> Option<CacheContent> {
        let mut state = lock(&self.0);
        let slot = state.directory.first_slot(digest);
        let place = state.place(service, &EntryKey::content(digest, slot));
        state.perhaps.insert(*digest, (slot, place.clone()));
        (!place.is_lost()).then(|| place.content(None, *digest, size))
    }

    /// Whether the service has a large content, as far as that was found out.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let state = lock(&self.0);
        let is_named = state.directory.find(digest).is_some_and(|(location, _)| {
            let place = state.places.get(&key_of(digest, &location));
            place.is_none_or(|place| !place.is_lost())
        });
        is_named || state.perhaps.get(digest).is_some_and(|(_, place)| is_there(place))
    }

    /// Whether a large content was looked up, and is not there.
    pub(super) fn is_missing(&self, digest: &Digest) -> bool {
        lock(&self.0).perhaps.get(digest).is_some_and(|(_, place)| place.is_lost())
    }

    /// The first slot of a large content's entry that may be free: one that has something else will never be.
    pub(super) fn first_slot(&self, digest: &Digest) -> u32 {
        let state = lock(&self.0);
        let is_wrong =
            |slot: &u32| state.places.get(&EntryKey::content(digest, *slot)).is_some_and(Place::is_wrong);
        let first = state.directory.first_slot(digest);
        (first..u32::MAX).find(|slot| !is_wrong(slot)).unwrap_or(first)
    }

    /// What is known besides a directory: the large contents that the service has, with their slots, those that were uploaded
    /// among them; and the contents that it should have had and did not.
    pub(super) fn besides(
        &self,
        directory: &Directory,
        uploaded: HashMap<Digest, u32>,
    ) -> (HashMap<Digest, u32>, HashSet<Digest>) {
        let state = lock(&self.0);
        let found = state.perhaps.iter().filter(|(_, (_, place))| is_there(place));
        let mut entries: HashMap<Digest, u32> = found.map(|(digest, (slot, _))| (*digest, *slot)).collect();
        entries.extend(uploaded);
        let is_lost = |digest: &Digest| {
            let key = directory.find(digest).map(|(location, _)| key_of(digest, &location));
            key.and_then(|key| state.places.get(&key)).is_some_and(Place::is_lost)
        };
        (entries, directory.digests().filter(is_lost).collect())
    }
}
