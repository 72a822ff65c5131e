//! Large contents, each an entry of its own, which are uploaded one after the other while the job runs. A pull comes first:
//! while one is in progress no block is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubcap_oci::Digest;
use hubcap_store::Store;
use hubcap_upstream::actions_cache::{ActionsCache, EntryKey, Uploaded};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::lock::lock;

/// Slots that are tried for one content: the others were reserved by jobs that died.
const SLOTS: u32 = 4;
/// Another job may be uploading the same content: so often it is looked up, after such pauses, before the slot counts as lost.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2500);

/// Uploads that wait, and what came of those before.
pub(super) struct Uploads {
    queue: mpsc::UnboundedSender<(Digest, u64)>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many pulls are in progress, and so whether no block is sent.
    pulls: Mutex<usize>,
    paused: watch::Sender<bool>,
    progress: watch::Sender<Progress>,
    done: Mutex<Done>,
}

/// What is still to be uploaded.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Contents that are queued or being uploaded.
    left: usize,
    /// Whether one is being uploaded.
    is_busy: bool,
    /// Whether no other one is begun.
    is_ending: bool,
}

/// What was uploaded so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    /// The slot of each content.
    pub(super) entries: HashMap<Digest, u32>,
    /// Bytes that were sent for them.
    pub(super) bytes: u64,
}

/// A pull in progress.
pub(crate) struct Pulling(Arc<Shared>);

impl Drop for Pulling {
    fn drop(&mut self) {
        let mut pulls = lock(&self.0.pulls);
        *pulls -= 1;
        self.0.paused.send_replace(*pulls > 0);
    }
}

impl Uploads {
    /// Starts the task that uploads. It ends with this value.
    pub(super) fn start(runtime: &Handle, service: ActionsCache, store: Store) -> Self {
        let (queue, mut queued) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let working = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Some((digest, size)) = queued.recv().await {
                if !working.begins() {
                    break;
                }
                working.upload(&service, &store, (digest, size)).await;
                working.progress.send_modify(|progress| {
                    progress.left -= 1;
                    progress.is_busy = false;
                });
            }
        });
        Self { queue, shared }
    }

    /// Queues a content that was verified.
    pub(super) fn add(&self, digest: Digest, size: u64) {
        self.shared.progress.send_modify(|progress| progress.left += 1);
        // Where nothing is uploaded any more, it is left to a later job.
        let _ = self.queue.send((digest, size));
    }

    /// Waits for the upload that is under way, for at most `patience`, and begins no other one: a job that ends has nothing of
    /// them. Returns how many contents are left.
    pub(super) async fn finish(&self, patience: Duration) -> usize {
        let progress = &self.shared.progress;
        progress.send_modify(|progress| progress.is_ending = true);
        let mut news = progress.subscribe();
        let _ = tokio::time::timeout(patience, news.wait_for(|progress| !progress.is_busy)).await;
        progress.borrow().left
    }

    /// What was uploaded so far.
    pub(super) fn done(&self) -> Done {
        lock(&self.shared.done).clone()
    }

    /// What the job's last upload waits for.
    pub(super) fn paused(&self) -> watch::Receiver<bool> {
        self.shared.paused.subscribe()
    }

    /// Notes a pull, for as long as the returned value lives.
    pub(super) fn pulling(&self) -> Pulling {
        let mut pulls = lock(&self.shared.pulls);
        *pulls += 1;
        self.shared.paused.send_replace(true);
        Pulling(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// Notes that an upload begins, unless none is to begin.
    fn begins(&self) -> bool {
        let mut begins = false;
        self.progress.send_modify(|progress| {
            begins = !progress.is_ending;
            progress.is_busy = begins;
        });
        begins
    }

    async fn upload(&self, service: &ActionsCache, store: &Store, (digest, size): (Digest, u64)) {
        if !service.may_write() || lock(&self.done).entries.contains_key(&digest) {
            return;
        }
        for slot in 0..SLOTS {
            let (key, store) = (EntryKey::content(&digest, slot), store.clone());
            let read = move |range| store.read(&digest, range);
            match service.upload(&key, size, read, self.paused.subscribe()).await {
                Ok(Uploaded::Reserved) if !comes(service, &key).await => {}
                Ok(uploaded) => {
                    let mut done = lock(&self.done);
                    done.entries.insert(digest, slot);
                    done.bytes += if uploaded == Uploaded::Saved { size } else { 0 };
                    return;
                }
                Err(error) => {
                    tracing::warn!(target: "hubcap::carry", digest = %digest, "not saved for later jobs: {error}");
                    return;
                }
            }
        }
        tracing::warn!(target: "hubcap::carry", digest = %digest,
            "not saved for later jobs: {SLOTS} entries were reserved for it and never completed");
    }
}

/// Whether an entry that was reserved is there after a while.
async fn comes(service: &ActionsCache, key: &EntryKey) -> bool {
    for _ in 0..LOOKS {
        tokio::time::sleep(PAUSE).await;
        if matches!(service.find(key).await, Ok(Some(_))) {
            return true;
        }
    }
    false
}
