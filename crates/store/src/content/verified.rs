//! Contents that this process has not verified: they may have rotted on the disk, or come damaged out of a restored
//! archive. The first time one is asked for it is hashed while it is read, and its last bytes are held back until
//! then, as with a content that is being fetched. A file that has changed since it was verified is verified again.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use hubcap_oci::{Digest, Verifier};
use tokio::sync::watch;

use crate::content::Content;
use crate::content::growth::Progress;
use crate::content::original::{Original, Written};
use crate::hash::hash_range;
use crate::mutex::lock;

/// What this process knows to be right; a clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verified(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// With the files that were verified.
    right: HashMap<Digest, Stamp>,
    /// Damaged ones that could not be moved away.
    wrong: HashMap<Digest, Stamp>,
    /// Being hashed now.
    running: HashMap<Digest, Content>,
}

/// What tells a file from another one, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    written: Written,
    /// Nobody can set it.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), written: Written::of(file), changed: (file.ctime(), file.ctime_nsec()) }
    }
}

impl Verified {
    /// Notes a content whose digest was verified, with its file.
    pub(crate) fn note(&self, digest: &Digest, file: &Metadata) {
        let mut known = lock(&self.0);
        known.wrong.remove(digest);
        known.right.insert(*digest, Stamp::of(file));
    }

    /// Notes a content that is damaged and stays where it is.
    pub(crate) fn note_wrong(&self, digest: &Digest, file: &Metadata) {
        lock(&self.0).wrong.insert(*digest, Stamp::of(file));
    }

    /// Whether the file of a content was found damaged, and is still there. `file` looks at it.
    pub(crate) fn is_wrong(&self, digest: &Digest, file: impl FnOnce() -> Option<Metadata>) -> bool {
        let Some(wrong) = lock(&self.0).wrong.get(digest).copied() else { return false };
        file().is_some_and(|file| Stamp::of(&file) == wrong)
    }

    /// Forgets a content that is gone.
    pub(crate) fn forget(&self, digest: &Digest) {
        let mut known = lock(&self.0);
        known.right.remove(digest);
        known.wrong.remove(digest);
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
        metadata: Metadata,
        damaged: impl FnOnce() + Send + 'static,
    ) -> Content {
        let size = metadata.len();
        let original = Original::whole(*digest, Written::of(&metadata));
        let mut known = lock(&self.0);
        if known.right.get(digest) == Some(&Stamp::of(&metadata)) {
            return Content::committed(Arc::new(file), size, original);
        }
        if let Some(content) = known.running.get(digest) {
            return content.clone();
        }
        let file = Arc::new(file);
        let progress = watch::Sender::new(Progress::Partial(0));
        let (news, tail) = (progress.subscribe(), Arc::default());
        let content = Content::growing(Arc::clone(&file), Some(size), news, tail, original.clone());
        known.running.insert(*digest, content.clone());
        drop(known);
        let (verified, digest) = (self.clone(), *digest);
        tokio::task::spawn_blocking(move || {
            let right = hash(&file, size, &digest, &progress);
            // What was right when it was hashed may not be what its readers have read. It is verified anew for who asks next.
            let same = original.ensure(&file).is_ok();
            if !right {
                damaged();
            } else if same {
                // As it was before it was read: a change since then is seen.
                verified.note(&digest, &metadata);
            }
            lock(&verified.0).running.remove(&digest);
            if right && same {
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
