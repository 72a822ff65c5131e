//! A content that is being written: hashed as it comes, followed by any number of readers, visible under its name
//! only after its digest was verified.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;
use hubcap_oci::{Digest, Verifier};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::watch;

use crate::Error;
use crate::content::{Content, Progress};
use crate::layout::Layout;
use crate::verified::Verified;

/// Names of files in `ingest/`: two fetches of one digest never share one.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The one writer of a content. Dropped without [`commit`](Self::commit), it takes back what it wrote, and its
/// readers fail.
#[derive(Debug)]
pub struct Ingest {
    expected: Digest,
    file: Arc<File>,
    partial: Partial,
    destination: PathBuf,
    verifier: Verifier,
    written: u64,
    progress: watch::Sender<Progress>,
    verified: Verified,
}

/// The file in `ingest/`, removed unless it was renamed.
#[derive(Debug)]
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(target: "hubcap::store", "a partial content could not be removed: {error}");
        }
    }
}

impl Ingest {
    pub(crate) fn begin(
        layout: &Layout,
        (expected, size): (Digest, Option<u64>),
        verified: Verified,
    ) -> Result<Self, Error> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = layout.ingests().join(format!("{}.{number}", expected.hex()));
        let file = fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        let (file, path) = file.into_parts();
        let partial = Partial(Some(path));
        if let Some(size) = size.filter(|size| *size > 0) {
            reserve(&file, size)?;
        }
        Ok(Self {
            expected,
            file: Arc::new(file),
            partial,
            destination: layout.blob(&expected),
            verifier: Verifier::new(expected.algorithm()),
            written: 0,
            progress: watch::Sender::new(Progress::Partial(0)),
            verified,
        })
    }

    /// Appends, hashes, and tells the readers.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them; the ingest is of no use then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.written)?;
        self.verifier.update(bytes);
        self.written += bytes.len() as u64;
        self.progress.send_replace(Progress::Partial(self.written));
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The content as its readers follow it. `size` is its whole length, where the upstream told it.
    pub fn content(&self, size: Option<u64>) -> Content {
        Content::growing(Arc::clone(&self.file), size, self.progress.subscribe())
    }

    /// Verifies the digest and makes the content visible: the only way into `blobs/`.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], after which nothing of it is left; [`Error::Io`].
    pub fn commit(mut self) -> Result<Content, Error> {
        let actual = self.verifier.clone().finish();
        if actual != self.expected {
            let (expected, actual) = (Box::new(self.expected), Box::new(actual));
            return Err(Error::DigestMismatch { expected, actual });
        }
        if let Some(path) = self.partial.0.take()
            && let Err(error) = fs::rename(&path, &self.destination)
        {
            self.partial.0 = Some(path);
            return Err(error.into());
        }
        self.verified.note(&self.expected);
        // Only now: a reader that sees Done may rely on the store having it.
        self.progress.send_replace(Progress::Done(self.written));
        Ok(Content::committed_shared(Arc::clone(&self.file), self.written))
    }
}

/// Takes room on the disk. A file system that cannot do that will tell when it is full.
fn reserve(file: &File, size: u64) -> std::io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
