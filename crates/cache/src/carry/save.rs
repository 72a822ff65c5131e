//! What is saved when the job ends: a pack of what the service does not have.

use std::time::Duration;

use hubcap_store::{NewPack, Saving, Store};
use hubcap_upstream::actions_cache::{EntryKey, Uploaded};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::carrier::Carrying;
use super::uploads::Done;
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
    /// Why another large content was not saved, of the latest one.
    pub failed: Option<String>,
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

impl Carrying {
    /// Saves what the job adds. The upload that is under way is waited for where that takes at most `patience`; the pack then
    /// says where it is, or that its slot is lost.
    pub(super) async fn save(&self, store: &Store, patience: Duration) -> Saved {
        self.service.end();
        let (left, pack) = match self.service.write_refusal() {
            Some(refusal) => (0, Err(refusal.to_string())),
            None => {
                let (left, ()) = tokio::join!(self.uploads.finish(patience), self.merge_newest(store));
                (left, self.save_pack(store).await)
            }
        };
        let Done { bytes: uploaded, failed, .. } = self.uploads.done();
        Saved { uploaded, left, failed, pack: pack.unwrap_or_else(PackEnd::Failed) }
    }

    async fn save_pack(&self, store: &Store) -> Result<PackEnd, String> {
        let pack = self.pack(store).await?;
        if pack.is_empty() {
            return Ok(PackEnd::Empty);
        }
        let prefix = self.prefixes.first().map_or("hubcap", String::as_str);
        let mut key = format!("{prefix}@{}", pack.key());
        let is_newest = |newest: &str| newest == key || newest.starts_with(&format!("{key}."));
        if self.known.directory().key().is_some_and(is_newest) {
            return Ok(PackEnd::Unchanged);
        }
        for again in 1..=NAMES {
            let (reading, size, entry) = (pack.clone(), pack.size(), EntryKey::pack(&*key));
            let read = move |range| reading.read(range);
            // Nobody waits for what is still pulled now.
            let upload = self.service.upload(&entry, size, read, watch::channel(false).1);
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
    async fn merge_newest(&self, store: &Store) {
        let late = |_| "it did not come in time".to_owned();
        let merged = tokio::time::timeout(MERGE, self.read_newest(store)).await.map_err(late).flatten();
        if let Err(why) = merged {
            tracing::info!(target: "hubcap::carry", "what other jobs have saved since is not known: {why}");
        }
    }

    async fn pack(&self, store: &Store) -> Result<NewPack, String> {
        let directory = self.known.directory();
        let Done { entries, slots, .. } = self.uploads.done();
        let (entries, lost) = self.known.besides(&directory, entries);
        let store = store.clone();
        let packing =
            on_disk(move || store.pack(&Saving { directory: Some(&directory), entries, lost, slots }));
        packing.await.map_err(|error| error.to_string())
    }
}
