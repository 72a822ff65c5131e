//! Looking at a whole store: every content against its name, and `index.json` against the contents.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fs_err as fs;
use hubcap_oci::{Digest, Verifier};

use super::Layout;
use super::own;
use crate::error::Error;
use crate::hash::hash_range;
use crate::mutex::lock;

/// Something that is wrong with a store.
#[derive(Debug, Clone)]
pub enum Finding {
    /// A content whose bytes are not what its name says, or that cannot be read.
    Content(Digest),
    /// A file among the contents whose name is no digest.
    Foreign(PathBuf),
    /// An entry of `index.json` whose manifest is not here.
    Missing {
        /// The image's whole name.
        name: String,
        /// Its manifest.
        digest: Digest,
    },
    /// A file that every layout has is missing, or is not what it should be.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content(digest) => write!(f, "{digest} is damaged"),
            Self::Foreign(path) => write!(f, "{path:?} is no content"),
            Self::Missing { name, digest } => write!(f, "the manifest of {name} is missing ({digest})"),
            Self::File { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Contents that were read.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Layout {
    /// Removes what a [`Finding::Foreign`] names: a file or a link alone, or a directory with what is in it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub fn remove_foreign(path: &Path) -> Result<(), Error> {
        Ok(own::remove(path)?)
    }

    /// Reads everything in the store, on all processors, and changes nothing. `progress` is called with the bytes of each
    /// content that was read.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no store.
    pub fn verify(&self, progress: impl Fn(u64) + Sync) -> Result<Report, Error> {
        fs::metadata(self.root().join("blobs"))?;
        let contents: Vec<(Digest, PathBuf)> = self.digests().collect();
        let (bytes, damaged) = check_all(&contents, progress);
        let mut findings: Vec<Finding> = damaged.into_iter().map(Finding::Content).collect();
        findings.extend(self.foreign_files().map(Finding::Foreign));
        findings.extend(self.wrong_files().map(|(path, why)| Finding::File { path, why }));
        match self.read_index() {
            Ok(images) => findings.extend(
                self.missing(&images)
                    .into_iter()
                    .map(|entry| Finding::Missing { name: entry.name(), digest: entry.descriptor.digest }),
            ),
            Err(Error::Damaged { path, why }) => findings.push(Finding::File { path, why }),
            Err(error) => return Err(error),
        }
        Ok(Report { contents: contents.len(), bytes, findings })
    }
}

/// How many bytes were read, and which contents are damaged, sorted.
fn check_all(contents: &[(Digest, PathBuf)], progress: impl Fn(u64) + Sync) -> (u64, Vec<Digest>) {
    let next = AtomicUsize::new(0);
    let found = Mutex::new((0, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((digest, path)) = contents.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (read, right) = match check(path, digest) {
                        Ok(checked) => checked,
                        // Evicted by a running daemon since the list was made.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                        Err(_) => (0, false),
                    };
                    progress(read);
                    let mut found = lock(&found);
                    found.0 += read;
                    if !right {
                        found.1.push(*digest);
                    }
                }
            });
        }
    });
    let (bytes, mut damaged) = found.into_inner().unwrap_or_default();
    damaged.sort_unstable();
    (bytes, damaged)
}

/// How many bytes a file has, and whether they have the digest.
fn check(path: &Path, digest: &Digest) -> std::io::Result<(u64, bool)> {
    let mut verifier = Verifier::new(digest.algorithm());
    let size = hash_range(&own::open(path)?, 0..u64::MAX, &mut verifier, |_| {})?;
    Ok((size, verifier.finish() == *digest))
}
