//! Hashing beside writing: SHA-256 takes as long as everything else that is done with a byte together.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Digest, Verifier};

use crate::hash::hash_range;
use crate::memory::Budgeted;

/// From this many bytes on, a thread is worth its start.
const SMALL: u64 = 1 << 20;
/// Pieces that may wait for the thread.
const WAITING: usize = 32;

/// Hashes pieces in the order in which they come, large contents on a thread of their own.
#[derive(Debug)]
pub(crate) enum Hasher {
    Inline {
        verifier: Verifier,
        seen: u64,
    },
    Threaded {
        jobs: SyncSender<Job>,
        thread: JoinHandle<std::io::Result<Verifier>>,
    },
    /// Its digest was taken.
    Finished,
}

/// A piece: as it is in memory, or where it is in the file.
#[derive(Debug)]
pub(crate) enum Job {
    Bytes(Budgeted),
    File(Arc<File>, Range<u64>),
}

impl Job {
    fn hash(self, verifier: &mut Verifier) -> std::io::Result<()> {
        match self {
            Self::Bytes(piece) => verifier.update(piece.bytes()),
            Self::File(file, range) => {
                let end = range.end;
                if hash_range(&file, range, verifier, |_| {})? < end {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self::Inline { verifier: Verifier::new(algorithm), seen: 0 }
    }

    /// Bytes, and where in which file they are written already.
    pub(crate) fn update(&mut self, bytes: &Bytes, file: &Arc<File>, offset: u64) -> std::io::Result<()> {
        let length = bytes.len() as u64;
        let in_file = || Job::File(Arc::clone(file), offset..offset + length);
        self.take(length, Budgeted::take(bytes).map_or_else(in_file, Job::Bytes))
    }

    /// Bytes of a file that are written and stay as they are.
    pub(crate) fn update_from(&mut self, file: &Arc<File>, range: Range<u64>) -> std::io::Result<()> {
        self.take(range.end - range.start, Job::File(Arc::clone(file), range))
    }

    fn take(&mut self, length: u64, job: Job) -> std::io::Result<()> {
        if let Self::Inline { verifier, seen } = self {
            *seen += length;
            if *seen <= SMALL {
                return job.hash(verifier);
            }
            let mut verifier = verifier.clone();
            let (jobs, work): (SyncSender<Job>, Receiver<Job>) = sync_channel(WAITING);
            let thread = std::thread::Builder::new().name("hash".into()).spawn(move || {
                for job in work {
                    job.hash(&mut verifier)?;
                }
                Ok(verifier)
            })?;
            *self = Self::Threaded { jobs, thread };
        }
        match self {
            Self::Threaded { jobs, .. } => {
                jobs.send(job).map_err(|_| std::io::Error::other("the hash has failed"))
            }
            Self::Inline { .. } | Self::Finished => Ok(()),
        }
    }

    /// The digest of everything; after it, nothing more is taken.
    pub(crate) fn finish(&mut self) -> std::io::Result<Digest> {
        match std::mem::replace(self, Self::Finished) {
            Self::Inline { verifier, .. } => Ok(verifier.finish()),
            Self::Threaded { jobs, thread } => {
                drop(jobs);
                let ended = thread.join().map_err(|_| std::io::Error::other("the hash has failed"))?;
                Ok(ended?.finish())
            }
            Self::Finished => Err(std::io::Error::other("the digest was taken already")),
        }
    }
}
