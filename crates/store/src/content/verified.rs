//! Contents that this process has not verified: they may have rotted on the disk, or come damaged out of a restored
//! archive. The first time one is asked for it is hashed while it is read, and its last bytes are held back until
//! then, as with a content that is being fetched.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, Mutex};

use hubcap_oci::{Digest, Verifier};
use tokio::sync::watch;

use crate::content::Content;
use crate::content::growth::Progress;
use crate::hash::hash_range;
use crate::mutex::lock;

/// What this process knows to be right; a clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verified(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    right: HashSet<Digest>,
    /// Being hashed now.
    running: HashMap<Digest, Content>,
}

impl Verified {
    /// Notes a content whose digest was verified.
    pub(crate) fn note(&self, digest: &Digest) {
        lock(&self.0).right.insert(*digest);
    }

    /// Forgets a content that is gone.
    pub(crate) fn forget(&self, digest: &Digest) {
        lock(&self.0).right.remove(digest);
    }

    /// Forgets everything: it is another store now.
    pub(crate) fn forget_all(&self) {
        *lock(&self.0) = Known::default();
    }

    /// The content of an open file: as it is when it is known to be right, else growing while it is hashed, once for
    /// all who ask. `damaged` is called before any reader learns that it is not what its name says.
    pub(crate) fn content(
        &self,
        digest: &Digest,
        file: File,
        size: u64,
        damaged: impl FnOnce() + Send + 'static,
    ) -> Content {
        let mut known = lock(&self.0);
        if known.right.contains(digest) {
            return Content::committed(Arc::new(file), size);
        }
        if let Some(content) = known.running.get(digest) {
            return content.clone();
        }
        let file = Arc::new(file);
        let progress = watch::Sender::new(Progress::Partial(0));
        let content = Content::growing(Arc::clone(&file), Some(size), progress.subscribe(), Arc::default());
        known.running.insert(*digest, content.clone());
        drop(known);
        let (verified, digest) = (self.clone(), *digest);
        tokio::task::spawn_blocking(move || {
            let right = hash(&file, size, &digest, &progress);
            if right {
                verified.note(&digest);
            } else {
                damaged();
            }
            lock(&verified.0).running.remove(&digest);
            if right {
                progress.send_replace(Progress::Done(size));
            }
            // Else the sender goes without Done, which its readers take for the failure it is.
        });
        content
    }
}

/// Whether the file's bytes have the digest; tells how far it has come.
fn hash(file: &File, size: u64, digest: &Digest, progress: &watch::Sender<Progress>) -> bool {
    let mut verifier = Verifier::new(digest.algorithm());
    let hashed = hash_range(file, 0..u64::MAX, &mut verifier, |position| {
        progress.send_replace(Progress::Partial(position));
    });
    match hashed {
        Ok(end) => end == size && verifier.finish() == *digest,
        Err(error) => {
            tracing::warn!(target: "hubcap::store", digest = %digest, "the content cannot be read: {error}");
            false
        }
    }
}
