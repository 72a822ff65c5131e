//! The service as one more origin: what of a fill's contents it has, and what it gets of what was filled.

use std::sync::OnceLock;

use bytes::BytesMut;
use hubcap_oci::{Digest, Target};
use hubcap_store::{Directory, Head, LARGE, Store};
use hubcap_upstream::actions_cache::{ActionsCache, CacheContent, Entry, EntryKey};

use super::known::Known;
use super::uploads::{Large, Pulling, Uploads};
use crate::on_disk::on_disk;

/// How much of a pack is read at first, in bytes: mostly all of its head.
const FIRST_READ: u64 = 1 << 20;
/// How much is read at once after that.
const READ: u64 = 16 << 20;

/// The cache service, once it is known; without one nothing is carried.
#[derive(Default)]
pub(crate) struct Carrier {
    carrying: OnceLock<Carrying>,
    /// Why nothing of earlier jobs is used.
    trouble: OnceLock<String>,
}

pub(super) struct Carrying {
    pub(super) service: ActionsCache,
    /// What the names of packs begin with, before an `@`. The first is the one that is written.
    pub(super) prefixes: Vec<String>,
    pub(super) known: Known,
    pub(super) uploads: Uploads,
}

impl Carrier {
    /// Begins to carry; `None` where that was begun before.
    pub(super) fn begin(&self, carrying: Carrying) -> Option<&Carrying> {
        self.carrying.set(carrying).ok()?;
        self.carrying.get()
    }

    pub(super) fn carrying(&self) -> Option<&Carrying> {
        self.carrying.get()
    }

    pub(super) fn note_trouble(&self, why: &str) {
        let _ = self.trouble.set(why.to_owned());
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// A content of a repository at the service. Only what anybody may have is there, and only what a manifest of the
    /// repository names is asked for.
    pub(crate) async fn content(
        &self,
        store: &Store,
        target: &Target,
        digest: &Digest,
    ) -> Option<CacheContent> {
        let Carrying { service, known, .. } = self.carrying.get()?;
        if !service.may_read() || store.is_private(target) || !store.is_named(target, digest) {
            return None;
        }
        if let Some(content) = known.content(service, digest) {
            return Some(content);
        }
        // Another job may have saved it: that is found out while the registry is asked.
        let (store, target, digest) = (store.clone(), target.clone(), *digest);
        let hinted = on_disk(move || store.hinted_size(&target, &digest)).await.ok().flatten();
        let size = hinted.filter(|size| *size >= LARGE)?;
        known.perhaps(service, &digest, size)
    }

    /// Queues a content of `size` bytes that was stored for its upload, if it is large and the service does not have it.
    pub(crate) fn stored(&self, store: &Store, target: &Target, digest: &Digest, size: u64) {
        let Some(Carrying { known, uploads, .. }) = self.carrying.get() else { return };
        if size >= LARGE && !store.is_private(target) && !known.has(digest) {
            let (slot, is_missing) = (known.first_slot(digest), known.is_missing(digest));
            uploads.add(Large { digest: *digest, size, slot, is_missing });
        }
    }

    /// Uploads wait for as long as this lives.
    pub(crate) fn pulling(&self) -> Option<Pulling> {
        Some(self.carrying.get()?.uploads.pulling())
    }
}

impl Carrying {
    /// Reads the head of the newest pack, takes it into the store, and learns what the service has. `None` where there is no
    /// pack, or none that is newer than what is known.
    ///
    /// # Errors
    /// In words, when the service cannot be used now, or what it has is no pack.
    pub(super) async fn read_newest(&self, store: &Store) -> Result<Option<String>, String> {
        let prefixes: Vec<String> = self.prefixes.iter().map(|prefix| format!("{prefix}@")).collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let found = self.service.find_newest(&prefixes, EntryKey::pack("").version()).await;
        let Some(entry) = found.map_err(|error| error.to_string())? else { return Ok(None) };
        let key = entry.matched_key().to_owned();
        if self.known.directory().key() == Some(&key) {
            return Ok(None);
        }
        let directory = take(store, &entry).await?;
        self.known.learn(self.service.clone(), entry, directory);
        Ok(Some(key))
    }
}

/// Reads the head of a pack, and takes it into the store.
async fn take(store: &Store, entry: &Entry) -> Result<Directory, String> {
    let head = read_head(entry).await?;
    let store = store.clone();
    let taking = on_disk(move || store.take(&head).map(|_| head.into_directory()));
    taking.await.map_err(|error| error.to_string())
}

async fn read_head(entry: &Entry) -> Result<Head, String> {
    let key = entry.matched_key();
    let read = async |range| entry.read(range).await.map_err(|error| error.to_string());
    let first = read(0..FIRST_READ).await?;
    let length = Head::length(key, &first).map_err(|error| error.to_string())?;
    let mut bytes = BytesMut::from(first);
    while (bytes.len() as u64) < length {
        let at = bytes.len() as u64;
        let more = read(at..length.min(at + READ)).await?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
    }
    Head::read(key, &bytes.freeze()).map_err(|error| error.to_string())
}
