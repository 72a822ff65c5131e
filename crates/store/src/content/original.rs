//! What the file of a content was when its digest was verified. A program that writes into the file while it is sent would
//! make a wrong answer of it, so the file is looked at once more before the last bytes of an answer go out.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hubcap_oci::Digest;

use super::growth::ReadError;

/// The length of a file, and when it was last written to. Not when it was last changed in another way: hubcap itself marks
/// contents, gives them their name, and removes them while they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    size: u64,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
}

impl Written {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self { size: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }

    pub(crate) fn of_open(file: &File) -> std::io::Result<Self> {
        file.metadata().map(|file| Self::of(&file))
    }
}

/// The file of a content as it was when its digest was verified. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct Original(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    digest: Digest,
    /// Nothing while hubcap itself writes to the file.
    written: OnceLock<Written>,
    /// Whether somebody else has written to the file.
    is_changed: AtomicBool,
}

impl Original {
    /// Of a file that hubcap writes.
    pub(crate) fn begun(digest: Digest) -> Self {
        let (written, is_changed) = (OnceLock::new(), AtomicBool::new(false));
        Self(Arc::new(Inner { digest, written, is_changed }))
    }

    /// Of a file that is whole.
    pub(crate) fn whole(digest: Digest, written: Written) -> Self {
        let original = Self::begun(digest);
        original.complete(written);
        original
    }

    /// Hubcap writes no more to the file, which is like this from now on.
    pub(crate) fn complete(&self, written: Written) {
        let _ = self.0.written.set(written);
    }

    /// Notes that somebody else has written to the file: what was read of it may be wrong, whatever is in it later. Who opens it
    /// next finds that it is not the file that was verified.
    pub(crate) fn doubt(&self) {
        let Inner { digest, is_changed, .. } = &*self.0;
        if !is_changed.swap(true, Ordering::AcqRel) {
            tracing::warn!(target: "hubcap::store", digest = %digest,
                "another program has written to the content while it was in use");
        }
    }

    /// Whether somebody else is known to have written to the file.
    pub(crate) fn is_changed(&self) -> bool {
        self.0.is_changed.load(Ordering::Acquire)
    }

    /// Makes sure that nobody else has written to the file. Right only of what was read of it before.
    ///
    /// # Errors
    /// [`ReadError::Changed`] when somebody has.
    pub(crate) fn ensure(&self, file: &File) -> Result<(), ReadError> {
        if let Some(written) = self.0.written.get()
            && Written::of_open(file)? != *written
        {
            self.doubt();
        }
        if self.is_changed() { Err(ReadError::Changed) } else { Ok(()) }
    }
}
