//! The job's cache service as one more origin: what it is known to have, and what this job adds to it.
//!
//! - [`carrier`]: what fills ask of it.
//! - [`known`]: what the service has, and where.
//! - [`uploads`]: large contents, which are uploaded while the job runs.
//! - [`save`]: the pack, which is written when the job ends.

pub(crate) mod carrier;
mod known;
mod save;
mod uploads;

use std::time::Duration;

use hubcap_oci::Digest;
use hubcap_upstream::actions_cache::Service;

use crate::cache::Cache;
use carrier::Carrying;
use known::Known;
use uploads::Uploads;

pub use save::{PackEnd, Saved};

/// The longest content that any two images may share, in bytes: an empty layer has 32.
const EMPTY: u64 = 1024;
/// How long the pack of an earlier job is waited for. After that the registries are as good.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a start with the service brought.
#[derive(Debug, Clone)]
pub struct Found {
    /// The pack's key.
    pub key: String,
    /// How many contents it names, here or not.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
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
            let uploads = Uploads::start(&cache.0.tasks, service.clone(), cache.store().clone());
            let carrying = Carrying { service, prefixes, known: Known::default(), uploads };
            let Some(carrying) = cache.0.carrier.begin(carrying) else {
                return Err("another cache service was given before".to_owned());
            };
            let late = |_| format!("nothing came from the Actions cache within {} s", PATIENCE.as_secs());
            let reading = tokio::time::timeout(PATIENCE, carrying.read_newest(cache.store())).await;
            let read = reading.map_err(late).flatten();
            let key = read.inspect_err(|why| cache.0.carrier.note_trouble(why))?;
            let directory = carrying.known.directory();
            Ok(key.map(|key| Found { key, contents: directory.len(), bytes: directory.size() }))
        }
    }

    /// The key of the newest pack that is known, where contents are carried and there is one.
    pub fn carried(&self) -> Option<String> {
        self.0.carrier.carrying()?.known.directory().key().map(str::to_owned)
    }

    /// Whether that pack names a blob that clients have asked for, whether or not the service still has it.
    pub fn carried_asked(&self) -> bool {
        let Some(carrying) = self.0.carrier.carrying() else { return false };
        let directory = carrying.known.directory();
        let is_named = |blob: &Digest| directory.find(blob).is_some_and(|(_, size)| size > EMPTY);
        self.requests().requests.iter().filter_map(|request| request.blob.as_ref()).any(is_named)
    }

    /// Why nothing of what earlier jobs have saved is used, where that is so.
    pub fn carry_trouble(&self) -> Option<String> {
        self.0.carrier.trouble().map(str::to_owned)
    }

    /// Saves what this job adds to the cache service: waits for the upload of a large content that is under way, if at its speed
    /// so far that takes at most `patience`, then writes a pack. `None` where there is no service.
    pub async fn save_carried(&self, patience: Duration) -> Option<Saved> {
        Some(self.0.carrier.carrying()?.save(self.store(), patience).await)
    }
}
