//! The job's cache service as one more origin: what it is known to have, and what this job adds to it.
//!
//! - [`known`]: what the service has, and where.
//! - [`uploads`]: large contents, which are uploaded while the job runs.
//! - [`save`]: the pack, which is written when the job ends.

mod known;
mod save;
mod uploads;

use std::sync::OnceLock;
use std::time::Duration;

use hubcap_oci::{Digest, Target};
use hubcap_store::{Head, LARGE, Restored, Store};
use hubcap_upstream::actions_cache::{ActionsCache, CacheContent, Entry, EntryKey, Service};
use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::error::Error;
use crate::on_disk::on_disk;
use known::Known;
use uploads::Uploads;

pub use save::{PackEnd, Saved};

/// How much of a pack is read at first, in bytes: mostly all of its head.
const FIRST_READ: u64 = 1 << 20;
/// How much is read at once after that.
const READ: u64 = 16 << 20;
/// How long the pack of an earlier job is waited for. After that the registries are as good.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cache service, once it is known; without one nothing is carried.
#[derive(Default)]
pub(crate) struct Carrier(OnceLock<Carrying>);

struct Carrying {
    service: ActionsCache,
    /// What the names of packs begin with, before an `@`. The first is the one that is written.
    prefixes: Vec<String>,
    known: Known,
    uploads: Uploads,
}

/// What a start with the service brought.
#[derive(Debug, Clone)]
pub struct Found {
    /// The pack's key.
    pub key: String,
    /// Contents that it names, here or not, and their bytes.
    pub contents: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// What is in the store by now.
    pub restored: Restored,
}

impl Cache {
    /// Takes the cache service as one more origin, and reads what it has for the first of `prefixes` that it has something for.
    /// From the call on, before the future is polled, requests wait for that. `None` where it has nothing.
    ///
    /// # Errors
    /// In words, when the service cannot be used now; the registries have everything.
    pub fn carry(
        &self,
        service: Service,
        prefixes: Vec<String>,
    ) -> impl Future<Output = Result<Option<Found>, String>> + Send + use<> {
        let (cache, running) = (self.clone(), self.0.restoring.begin());
        async move {
            let _running = running;
            let service = cache.0.upstreams.actions_cache(service);
            let uploads = Uploads::start(&Handle::current(), service.clone(), cache.store().clone());
            let carrying = Carrying { service, prefixes, known: Known::new(), uploads };
            if cache.0.carrier.0.set(carrying).is_err() {
                return Err("another cache service was given before".to_owned());
            }
            let Some(carrying) = cache.0.carrier.0.get() else { return Ok(None) };
            let reading = carrying.read_newest(cache.store());
            let late = || format!("nothing came from the Actions cache within {} s", PATIENCE.as_secs());
            tokio::time::timeout(PATIENCE, reading).await.map_err(|_| late())?
        }
    }
}

impl Cache {
    /// The key of the newest pack that is known, where contents are carried and there is one.
    pub fn carried(&self) -> Option<String> {
        self.0.carrier.0.get()?.known.directory().key().map(str::to_owned)
    }
}

impl Carrier {
    /// A content of a repository at the service. Only what anybody may have is there, and only what a manifest of the
    /// repository names is asked for.
    pub(crate) async fn content(
        &self,
        store: &Store,
        target: &Target,
        digest: &Digest,
    ) -> Option<CacheContent> {
        let Carrying { service, known, .. } = self.0.get()?;
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

    /// A content that was stored, of which so many bytes came from the service. A large one that it does not have is uploaded.
    pub(crate) fn stored(&self, store: &Store, target: &Target, digest: &Digest, size: u64) {
        let Some(Carrying { known, uploads, .. }) = self.0.get() else { return };
        if size >= LARGE && !store.is_private(target) && !known.has(digest) {
            uploads.add(*digest, size);
        }
    }

    /// Uploads wait for as long as this lives.
    pub(crate) fn pulling(&self) -> Option<uploads::Pulling> {
        Some(self.0.get()?.uploads.pulling())
    }
}

impl Carrying {
    /// Reads the head of the newest pack, and takes it into the store.
    async fn read_newest(&self, store: &Store) -> Result<Option<Found>, String> {
        let Some(entry) = self.newest().await? else { return Ok(None) };
        let (found, directory) = take(store, &entry).await?;
        self.known.learn(self.service.clone(), entry, directory);
        Ok(Some(found))
    }

    async fn newest(&self) -> Result<Option<Entry>, String> {
        let prefixes: Vec<String> = self.prefixes.iter().map(|prefix| format!("{prefix}@")).collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let version = EntryKey::pack("").version().to_owned();
        self.service.find_newest(&prefixes, &version).await.map_err(|error| error.to_string())
    }
}

/// Reads the head of a pack, and takes it into the store.
async fn take(store: &Store, entry: &Entry) -> Result<(Found, hubcap_store::Directory), String> {
    let head = read_head(entry).await?;
    let store = store.clone();
    let taking = on_disk(move || store.take(&head).map(|restored| (restored, head.into_directory())));
    let (restored, directory) = taking.await.map_err(|error: Error| error.to_string())?;
    let (contents, bytes) = (directory.len(), directory.size());
    Ok((Found { key: entry.matched_key().to_owned(), contents, bytes, restored }, directory))
}

async fn read_head(entry: &Entry) -> Result<Head, String> {
    let key = entry.matched_key();
    let read = async |range| entry.read(range).await.map_err(|error| error.to_string());
    let first = read(0..FIRST_READ).await?;
    let length = Head::length(key, &first).map_err(|error| error.to_string())?;
    let mut bytes = bytes::BytesMut::from(first);
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
