//! What is saved when the job ends: a pack of what the service does not have.

use std::time::Duration;

use hubcap_store::{Directory, NewPack, Saving};
use hubcap_upstream::actions_cache::{EntryKey, Uploaded};
use serde::{Deserialize, Serialize};

use super::{Carrying, take};
use crate::cache::Cache;
use crate::on_disk::on_disk;

/// Names that are tried for one pack: the others were reserved by jobs that died.
const NAMES: u32 = 4;
/// How long the newest pack of other jobs is waited for, and the upload of this one's.
const MERGE: Duration = Duration::from_secs(5);
const UPLOAD: Duration = Duration::from_secs(60);

/// What was saved for later jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Saved {
    /// Bytes of large contents that were uploaded while the job ran.
    pub uploaded: u64,
    /// Large contents whose upload was not complete; a later job saves them.
    pub left: usize,
    /// What became of the pack.
    pub pack: PackEnd,
}

/// What became of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackEnd {
    /// It is there.
    Saved {
        /// Its key.
        key: String,
        /// Its length.
        bytes: u64,
    },
    /// The newest one says the same.
    Unchanged,
    /// There is nothing to save.
    Empty,
    /// It is not there, and this is why.
    Failed(String),
}

impl Cache {
    /// Saves what this job adds to the cache service: waits for large contents for at most `patience`, then writes a pack.
    /// `None` where there is no service.
    pub async fn save_carried(&self, patience: Duration) -> Option<Saved> {
        let carrying = self.0.carrier.0.get()?;
        let left = match carrying.service.may_write() {
            true => carrying.uploads.finish(patience).await,
            false => 0,
        };
        let pack = carrying.save_pack(self).await.unwrap_or_else(PackEnd::Failed);
        Some(Saved { uploaded: carrying.uploads.done().bytes, left, pack })
    }
}

impl Carrying {
    async fn save_pack(&self, cache: &Cache) -> Result<PackEnd, String> {
        if let Some(refusal) = self.service.write_refusal() {
            return Err(refusal.to_string());
        }
        self.merge_newest(cache).await;
        let directory = self.known.directory();
        let (pack, is_empty) = self.pack(cache, &directory).await?;
        if is_empty {
            return Ok(PackEnd::Empty);
        }
        let prefix = self.prefixes.first().map_or("hubcap", String::as_str);
        let mut key = format!("{prefix}@{}", pack.key());
        if directory.key().is_some_and(|newest| newest == key || newest.starts_with(&format!("{key}."))) {
            return Ok(PackEnd::Unchanged);
        }
        for again in 1..=NAMES {
            let (reading, size, entry) = (pack.clone(), pack.size(), EntryKey::pack(&*key));
            let read = move |range| reading.read(range);
            let upload = self.service.upload(&entry, size, read, self.uploads.paused());
            let late = || format!("the pack was not uploaded within {} s", UPLOAD.as_secs());
            let uploaded = tokio::time::timeout(UPLOAD, upload).await.map_err(|_| late())?;
            match uploaded.map_err(|error| error.to_string())? {
                Uploaded::Saved => return Ok(PackEnd::Saved { key, bytes: size }),
                Uploaded::Exists => return Ok(PackEnd::Unchanged),
                Uploaded::Reserved => key = format!("{prefix}@{}.{again}", pack.key()),
            }
        }
        Err(format!("{NAMES} names of the pack were reserved by jobs that did not complete it"))
    }

    /// Takes in what other jobs have saved since this one began: what only they know would be lost else.
    async fn merge_newest(&self, cache: &Cache) {
        let merging = async {
            let Some(entry) = self.newest().await? else { return Ok(()) };
            if self.known.directory().key() == Some(entry.matched_key()) {
                return Ok(());
            }
            let (_, directory) = take(cache.store(), &entry).await?;
            self.known.learn(self.service.clone(), entry, directory);
            Ok::<(), String>(())
        };
        match tokio::time::timeout(MERGE, merging).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::info!(target: "hubcap::carry", "what other jobs have saved since is not known: {why}")
            }
            Err(_) => {
                tracing::info!(target: "hubcap::carry", "what other jobs have saved since is not known in time")
            }
        }
    }

    /// The pack, and whether nothing is in it.
    async fn pack(&self, cache: &Cache, directory: &Directory) -> Result<(NewPack, bool), String> {
        let Saving { entries, lost, .. } = self.known.saving(directory, self.uploads.done().entries);
        let (store, directory) = (cache.store().clone(), directory.clone());
        let packing = on_disk(move || {
            let pack = store.pack(&Saving { directory: Some(&directory), entries, lost })?;
            let is_empty = pack.is_empty();
            Ok::<_, hubcap_store::Error>((pack, is_empty))
        });
        packing.await.map_err(|error| error.to_string())
    }
}
