//! What the cache service is known to have, and where.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hubcap_oci::Digest;
use hubcap_store::{Directory, Location, Saving};
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
    /// Large contents that are known to be there besides, with their slots.
    entries: HashMap<Digest, u32>,
    /// Contents that no directory names, and that another job may have saved, with where they would be.
    perhaps: HashMap<Digest, Place>,
}

impl State {
    fn place(&mut self, service: &ActionsCache, key: &EntryKey) -> Place {
        let new = || Place::new(service.clone(), key.clone());
        self.places.entry(key.clone()).or_insert_with(new).clone()
    }

    fn locate(&mut self, service: &ActionsCache, digest: &Digest) -> Option<CacheContent> {
        let (location, size) = self.directory.find(digest)?;
        let (key, range) = match location {
            Location::Entry { slot } => (EntryKey::content(digest, slot), None),
            Location::Pack { key, range } => (EntryKey::pack(key), Some(range)),
        };
        let place = self.place(service, &key);
        (!place.is_lost()).then(|| place.content(range, *digest, size))
    }
}

impl Known {
    pub(super) fn new() -> Self {
        Self::default()
    }

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
        let place = state.place(service, &EntryKey::content(digest, 0));
        state.perhaps.insert(*digest, place.clone());
        (!place.is_lost()).then(|| place.content(None, *digest, size))
    }

    /// Whether the service has a large content, as far as that was found out.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let mut state = lock(&self.0);
        if state.perhaps.get(digest).is_some_and(|place| place.is_found() && !place.is_lost()) {
            state.entries.insert(*digest, 0);
        }
        let is_named = state.directory.find(digest).is_some_and(|(location, _)| match location {
            Location::Entry { slot } => {
                let place = state.places.get(&EntryKey::content(digest, slot));
                place.is_none_or(|place| !place.is_lost())
            }
            Location::Pack { .. } => true,
        });
        is_named || state.entries.contains_key(digest)
    }

    /// What a new pack builds on, with what was uploaded.
    pub(super) fn saving<'a>(&self, directory: &'a Directory, uploaded: HashMap<Digest, u32>) -> Saving<'a> {
        let state = lock(&self.0);
        let mut entries = state.entries.clone();
        entries.extend(uploaded);
        let is_lost = |digest: &Digest| {
            let key = match directory.find(digest)?.0 {
                Location::Entry { slot } => EntryKey::content(digest, slot),
                Location::Pack { key, .. } => EntryKey::pack(key),
            };
            state.places.get(&key).filter(|place| place.is_lost()).map(|_| *digest)
        };
        let lost: HashSet<Digest> = directory.digests().filter_map(|digest| is_lost(&digest)).collect();
        Saving { directory: Some(directory), entries, lost }
    }
}
