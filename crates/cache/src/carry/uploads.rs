//! Large contents, each an entry of its own, which are uploaded one after the other while the job runs. A pull comes first:
//! while one is in progress no block is sent. When the job ends, what cannot be complete soon is left to a later one. The slot
//! that it had is lost, since nobody else can end an upload, and the pack says so: a later job takes the next one at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubcap_oci::Digest;
use hubcap_store::Store;
use hubcap_upstream::actions_cache::{ActionsCache, EntryKey, Error, Uploaded};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::lock::lock;

/// Slots that are tried for one content: the others were reserved by jobs that died.
const SLOTS: u32 = 4;
/// Another job may be uploading the same content: so often it is looked up, after such pauses, before the slot counts as lost.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2500);
/// How often the end of a job looks how long an upload still takes.
const LOOK: Duration = Duration::from_millis(100);

/// Uploads that wait, and what came of those before.
pub(super) struct Uploads {
    queue: mpsc::UnboundedSender<Large>,
    service: ActionsCache,
    shared: Arc<Shared>,
}

/// A content that is to be uploaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    pub(super) digest: Digest,
    /// Its length in bytes.
    pub(super) size: u64,
    /// The first slot that may be free.
    pub(super) slot: u32,
    /// Whether it was looked up there, and is not there.
    pub(super) is_missing: bool,
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
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// The job runs.
    #[default]
    Runs,
    /// It ends: no other content is begun, and what is not complete then is left.
    Ends(Instant),
    /// It has ended: what is being uploaded is broken off.
    Over,
}

/// What was uploaded so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    /// The slot of each content.
    pub(super) entries: HashMap<Digest, u32>,
    /// The first free slot of contents whose upload was begun and is not complete.
    pub(super) slots: HashMap<Digest, u32>,
    /// Bytes that were sent for them.
    pub(super) bytes: u64,
    /// Why a content was not saved, of the latest one.
    pub(super) failed: Option<String>,
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
        let (working, uploading) = (Arc::clone(&shared), service.clone());
        runtime.spawn(async move {
            while let Some(large) = queued.recv().await {
                if !working.begins() {
                    break;
                }
                let is_left = tokio::select! {
                    ended = working.upload(&uploading, &store, large) => ended == Ended::Left,
                    () = working.reaches(|phase| phase == Phase::Over) => true,
                };
                working.progress.send_modify(|progress| {
                    progress.left -= usize::from(!is_left);
                    progress.is_busy = false;
                });
            }
        });
        Self { queue, service, shared }
    }

    /// Queues a content that was verified.
    pub(super) fn add(&self, large: Large) {
        self.shared.progress.send_modify(|progress| progress.left += 1);
        // Where nothing is uploaded any more, it is left to a later job.
        let _ = self.queue.send(large);
    }

    /// Waits for the upload that is under way, as long as it would be complete within `patience` at its speed so far, and begins
    /// no other one: a job that ends has nothing of them. Returns how many contents are left.
    pub(super) async fn finish(&self, patience: Duration) -> usize {
        let (progress, until) = (&self.shared.progress, Instant::now() + patience);
        progress.send_modify(|progress| progress.phase = Phase::Ends(until));
        let mut news = progress.subscribe();
        let left = || until.saturating_duration_since(Instant::now());
        while progress.borrow().is_busy && self.service.upload_takes(0) < left() {
            let _ = timeout(LOOK, news.wait_for(|progress| !progress.is_busy)).await;
        }
        progress.send_modify(|progress| progress.phase = Phase::Over);
        // It ends at once, so that its connections are free for the pack.
        let _ = news.wait_for(|progress| !progress.is_busy).await;
        progress.borrow().left
    }

    /// What was uploaded so far.
    pub(super) fn done(&self) -> Done {
        lock(&self.shared.done).clone()
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
            begins = progress.phase == Phase::Runs;
            progress.is_busy = begins;
        });
        begins
    }

    async fn upload(&self, service: &ActionsCache, store: &Store, large: Large) -> Ended {
        let Large { digest, size, slot: first, is_missing } = large;
        if !service.may_write() || lock(&self.done).entries.contains_key(&digest) {
            return Ended::Done;
        }
        // The registry may have been faster than a look-up. Of these there are more than of creations.
        if !is_missing && matches!(service.find(&EntryKey::content(&digest, first)).await, Ok(Some(_))) {
            lock(&self.done).entries.insert(digest, first);
            return Ended::Done;
        }
        for slot in first..first.saturating_add(SLOTS) {
            if !self.has_time_for(service.upload_takes(size)) {
                return Ended::Left;
            }
            let (key, store) = (EntryKey::content(&digest, slot), store.clone());
            let read = move |range| store.read(&digest, range);
            // Unless it is completed: whoever breaks it off, nobody else can end it.
            lock(&self.done).slots.insert(digest, slot + 1);
            let uploaded = service.upload(&key, size, read, self.paused.subscribe()).await;
            if !uploaded.as_ref().is_err_and(Error::may_have_reserved) {
                lock(&self.done).slots.remove(&digest);
            }
            match uploaded {
                Ok(Uploaded::Reserved) if !self.comes(service, &key).await => {}
                Ok(uploaded) => {
                    let mut done = lock(&self.done);
                    done.entries.insert(digest, slot);
                    done.bytes += if uploaded == Uploaded::Saved { size } else { 0 };
                    return Ended::Done;
                }
                Err(error) => {
                    tracing::warn!(target: "hubcap::carry", digest = %digest, "not saved for later jobs: {error}");
                    lock(&self.done).failed = Some(error.to_string());
                    return Ended::Done;
                }
            }
        }
        let why = format!("{SLOTS} entries were reserved for it and never completed");
        tracing::warn!(target: "hubcap::carry", digest = %digest, "not saved for later jobs: {why}");
        let mut done = lock(&self.done);
        // Or else each later job would wait for the same ones. A job that ends has not waited for them.
        if self.progress.borrow().phase == Phase::Runs {
            done.slots.insert(digest, first.saturating_add(SLOTS));
        }
        done.failed = Some(why);
        Ended::Done
    }

    /// Whether an upload that takes so long is complete before the job has ended, as far as that is known.
    fn has_time_for(&self, takes: Duration) -> bool {
        match self.progress.borrow().phase {
            Phase::Runs => true,
            Phase::Ends(until) => takes <= until.saturating_duration_since(Instant::now()),
            Phase::Over => false,
        }
    }

    /// Whether an entry that was reserved is there after a while; where the job ends, whether it is there now.
    async fn comes(&self, service: &ActionsCache, key: &EntryKey) -> bool {
        for _ in 0..LOOKS {
            let is_ending = timeout(PAUSE, self.reaches(|phase| phase != Phase::Runs)).await.is_ok();
            if matches!(service.find(key).await, Ok(Some(_))) {
                return true;
            }
            if is_ending {
                break;
            }
        }
        false
    }

    /// Waits until `wanted` is true of the phase.
    async fn reaches(&self, wanted: impl Fn(Phase) -> bool) {
        // This has the sender, so there is no end of news.
        let _ = self.progress.subscribe().wait_for(|progress| wanted(progress.phase)).await;
    }
}

/// What became of a content's upload.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The service has it, or did not take it.
    Done,
    /// There was no time for it.
    Left,
}
