//! Which file is where: an OCI image layout (image-spec, image-layout.md), and beside it what is ours alone.
//!
//! ```text
//! STORE/oci-layout           {"imageLayoutVersion":"1.0.0"}
//!       index.json           every tag, every manifest that was pulled by digest, and every list of referrers
//!       blobs/<alg>/<hex>    verified contents, nothing else; 0644 what anybody may have, 0600 the rest
//!       ingest/              contents that are being written
//!       quarantine/          contents that turned out to be damaged
//!       index-sled034-v2/    the index; may be deleted at any time
//!       index.seal           a digest of it and of index.json, written at a clean shutdown
//!       lock                 who has the store open
//!       modes                an empty file of mode 0600: one of another mode says that the modes of contents say nothing
//!       CACHEDIR.TAG, .gitignore
//! ```

pub(crate) mod graph;
pub(crate) mod image_index;
mod index_file;
mod key;
pub(crate) mod list;
pub(crate) mod own;
pub(crate) mod verify;

use std::fs::{DirEntry, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hubcap_oci::{Algorithm, Digest};

use crate::error::Error;
use crate::permissions::{self, Modes, Readers};
use crate::replace::{replace_file, replace_file_durably};
use image_index::{Entry, ImageIndex};
use index_file::IndexFile;

/// What survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What the kernel has written by then: the machine of a CI job is gone after it anyway.
    #[default]
    Kernel,
    /// All that was stored at the last [`flush`](crate::Store::flush).
    Synced,
}

/// A store as files, without a process that has it open: everything here may run beside a daemon, which goes on changing
/// the store meanwhile. A missing store is an empty one.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    durability: Durability,
    index_file: IndexFile,
}

impl Layout {
    /// The layout at `root`, as it is.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), durability: Durability::Kernel, index_file: IndexFile::default() }
    }

    /// The same, for who writes to it.
    pub(crate) fn with(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    pub(crate) const fn durability(&self) -> Durability {
        self.durability
    }

    /// Writes contents, and the names of all that is here, to the disk.
    pub(crate) fn sync(&self, contents: &[Digest]) -> std::io::Result<()> {
        for path in contents.iter().map(|digest| self.blob(digest)) {
            match own::open(&path) {
                Ok(file) => file.sync_data()?,
                // Evicted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for directory in self.contents().iter().chain([&self.root]) {
            std::fs::File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Makes what is missing.
    pub(crate) fn create(root: &Path) -> Result<Self, Error> {
        let layout = Self::at(root);
        permissions::make_root(root)?;
        layout.make_way()?;
        for algorithm in Algorithm::ALL {
            permissions::make_directory(root, &root.join("blobs").join(algorithm.name()))?;
        }
        permissions::make_directory(root, &layout.ingests())?;
        permissions::make_directory(root, &layout.quarantine())?;
        for (name, text) in FILES {
            // Compared, not only looked for: an emptied oci-layout would make the whole store unreadable to others.
            if own::read(&root.join(name), SMALL).ok().as_deref() != Some(text.as_bytes()) {
                layout.replace(name, text.as_bytes())?;
            }
        }
        // Of an older hubcap, or a newer one.
        let own = [layout.sled(), layout.new_sled(), layout.corrupt_sled()];
        for entry in own::entries(root).filter(|entry| !own.contains(&entry.path())) {
            if entry.file_name().to_string_lossy().starts_with("index-sled") {
                let _ = own::remove(&entry.path());
            }
        }
        if !root.join("index.json").exists() {
            layout.write_index(&ImageIndex::default())?;
        }
        Ok(layout)
    }

    /// Whether its directories are there.
    pub(crate) fn has_directories(&self) -> bool {
        let directories = self.contents().into_iter().chain([self.ingests(), self.quarantine()]);
        directories.into_iter().all(|directory| own::is_directory(&directory))
    }

    /// Removes what is in the place of hubcap's own directories and files without being one.
    fn make_way(&self) -> std::io::Result<()> {
        let directories = [self.root.join("blobs"), self.ingests(), self.quarantine()];
        for directory in directories.iter().chain(&self.contents()) {
            own::make_way(directory, Metadata::is_dir)?;
        }
        let files = [self.image_index(), self.clean_checksum(), self.lock(), self.root.join(MODES)];
        for file in FILES.map(|(name, _)| self.root.join(name)).iter().chain(&files) {
            own::make_way(file, Metadata::is_file)?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the content of that name is, or would be.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join(content_path(digest))
    }

    /// Where contents are, one directory for each algorithm.
    pub(crate) fn contents(&self) -> [PathBuf; Algorithm::ALL.len()] {
        Algorithm::ALL.map(|algorithm| self.root.join("blobs").join(algorithm.name()))
    }

    /// Every committed content.
    pub(crate) fn digests(&self) -> impl Iterator<Item = (Digest, PathBuf)> {
        self.files().filter_map(|(path, is_file)| Some((digest_of(&path).filter(|_| is_file)?, path)))
    }

    /// What is among the contents and is no file, or has a name that is no digest.
    pub(crate) fn foreign_files(&self) -> impl Iterator<Item = PathBuf> {
        let is_content = |path: &Path, is_file: bool| is_file && digest_of(path).is_some();
        self.files().filter_map(move |(path, is_file)| (!is_content(&path, is_file)).then_some(path))
    }

    /// What is among the contents, and whether it is a file.
    fn files(&self) -> impl Iterator<Item = (PathBuf, bool)> {
        let contents = self.contents().into_iter().flat_map(|directory| own::entries(&directory));
        contents.map(|entry| (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_file())))
    }

    /// Reads some bytes of a content, from byte `offset` on, without verifying them.
    pub(crate) fn read_at(&self, digest: &Digest, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        own::open(&self.blob(digest))?.read_exact_at(bytes, offset)
    }

    /// The length in bytes of a content; `None` when it is not here.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        own::metadata(&self.blob(digest)).map(|metadata| metadata.len())
    }

    /// Whether something is here that is not known to be for everybody, or that is not known at all. Of what is half written or
    /// damaged that is not known, nor of what is no content, nor of a directory that cannot be read.
    pub fn has_private(&self) -> bool {
        let entries = self.read_index().map(|images| images.entries().any(|entry| entry.private));
        let is_unknown = |one: &DirEntry| {
            let digest = digest_of(&one.path()).filter(|_| one.file_type().is_ok_and(|kind| kind.is_file()));
            digest.is_none_or(|digest| self.readers(&digest) != Readers::All)
        };
        let is_foreign = |one: &DirEntry| !self.contents().contains(&one.path());
        entries.unwrap_or(true)
            || self.contents().iter().any(|directory| own::has_any(directory, is_unknown))
            || own::has_any(&self.root.join("blobs"), is_foreign)
            || [self.ingests(), self.quarantine()].iter().any(|directory| own::has_any(directory, |_| true))
    }

    /// Removes what is among the contents and is none: whose it is nobody knows.
    pub(crate) fn clear_foreign(&self) {
        let contents = self.contents();
        let beside = own::entries(&self.root.join("blobs")).map(|entry| entry.path());
        for path in beside.filter(|path| !contents.contains(path)).chain(self.foreign_files()) {
            match own::remove(&path) {
                Ok(()) => {
                    tracing::warn!(target: "hubcap::store", "{} is no content, and is removed", path.display())
                }
                Err(error) => tracing::warn!(target: "hubcap::store", "{error}"),
            }
        }
    }

    /// Whether an index is here, which may name what is private.
    pub fn has_index(&self) -> bool {
        [self.sled(), self.new_sled(), self.corrupt_sled()].iter().any(|path| path.symlink_metadata().is_ok())
    }

    /// Who may have a content in whatever repository that names it. Of one that is not here, nobody.
    pub(crate) fn readers(&self, digest: &Digest) -> Readers {
        let content = own::metadata(&self.blob(digest));
        content.map_or(Readers::Granted, |one| Readers::of(one.permissions().mode()))
    }

    /// Whether a content's mode is one that hubcap sets; true for one that is not here.
    pub(crate) fn is_marked(&self, digest: &Digest) -> bool {
        own::metadata(&self.blob(digest)).is_none_or(|one| {
            let mode = one.permissions().mode() & 0o777;
            mode == Readers::of(mode).mode()
        })
    }

    /// Whether the modes of contents can be believed.
    pub(crate) fn modes(&self) -> Modes {
        own::metadata(&self.root.join(MODES))
            .map_or(Modes::Unknown, |found| Modes::of(found.permissions().mode()))
    }

    /// Has them believed from now on: they are right.
    pub(crate) fn keep_modes(&self) {
        if self.modes() == Modes::Kept {
            return;
        }
        let mark = || Ok(permissions::mark(&self.root.join(MODES), Readers::Granted)?);
        if let Err(error) = self.replace(MODES, b"").and_then(|()| mark()) {
            tracing::warn!(target: "hubcap::store", "the next start will not believe the modes of contents: {error}");
        }
    }

    /// Marks a content, if it is here.
    pub(crate) fn mark(&self, digest: &Digest, readers: Readers) {
        if let Err(error) = permissions::mark(&self.blob(digest), readers) {
            tracing::warn!(target: "hubcap::store", "who may have {digest} is not noted: {error}");
        }
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn quarantined(&self, digest: &Digest) -> PathBuf {
        self.quarantine().join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    pub(crate) fn ingests(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// The name carries sled's format, since another version of sled opens it silently as empty, and ours.
    pub(crate) fn sled(&self) -> PathBuf {
        self.root.join("index-sled034-v2")
    }

    /// Where a corrupt index is moved to.
    pub(crate) fn corrupt_sled(&self) -> PathBuf {
        self.sled().with_extension("bad")
    }

    /// Where an index is written anew.
    pub(crate) fn new_sled(&self) -> PathBuf {
        self.sled().with_extension("new")
    }

    /// Bytes of the index's files.
    pub(crate) fn size_of_sled(&self) -> u64 {
        size_of_files(&self.sled())
    }

    /// Bytes of what is here beside contents: `index.json`, the index, and a corrupt one.
    pub(crate) fn size_of_indexes(&self) -> u64 {
        [self.image_index(), self.sled(), self.corrupt_sled()].iter().map(|path| size_of_files(path)).sum()
    }

    /// The checksum of the index at the last clean shutdown.
    pub(crate) fn clean_checksum(&self) -> PathBuf {
        self.root.join("index.seal")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The small files that are missing or wrong, and how.
    pub(crate) fn wrong_files(&self) -> impl Iterator<Item = (PathBuf, String)> {
        FILES.into_iter().filter_map(|(name, text)| {
            let path = self.root.join(name);
            match own::read(&path, SMALL) {
                Ok(bytes) if bytes == text.as_bytes() => None,
                Ok(_) => Some((path, "it is not what it should be".into())),
                Err(error) => Some((path, error.kind().to_string())),
            }
        })
    }

    /// Throws away what an earlier process had begun, and what else is in its place.
    pub(crate) fn discard_ingests(&self) {
        let ingests = own::entries(&self.ingests());
        let foreign = own::entries(&self.quarantine()).filter(|entry| own::metadata(&entry.path()).is_none());
        for entry in ingests.chain(foreign) {
            if let Err(error) = own::remove(&entry.path()) {
                tracing::warn!(target: "hubcap::store", "a left-over could not be removed: {error}");
            }
        }
    }

    /// The names of all images, `index.json`.
    pub(crate) fn image_index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    /// Reads `index.json`, unless this process has written it; a missing one is empty.
    pub(crate) fn read_index(&self) -> Result<ImageIndex, Error> {
        let path = self.image_index();
        let parsed = |bytes: &[u8]| {
            serde_json::from_slice(bytes)
                .map_err(|error| Error::Damaged { path: path.clone(), why: error.to_string() })
        };
        if let Some(text) = self.index_file.text() {
            return parsed(&text);
        }
        match own::read(&path, MAX_INDEX) {
            Ok(bytes) => parsed(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(ImageIndex::default()),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(Error::Damaged { path, why: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces `index.json`. What the disk does not take now is written by [`retry_index`](Self::retry_index).
    pub(crate) fn write_index(&self, index: &ImageIndex) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(index).map_err(std::io::Error::from)?;
        self.index_file.put(bytes, |bytes| self.replace("index.json", bytes))
    }

    /// The same where an error changes nothing: the names are in memory, and are written later.
    pub(crate) fn keep_index(&self, index: &ImageIndex) {
        if let Err(error) = self.write_index(index) {
            tracing::warn!(target: "hubcap::store", "index.json is not written now, and is again later: {error}");
        }
    }

    /// Writes `index.json` where that has failed.
    pub(crate) fn retry_index(&self) -> Result<(), Error> {
        self.index_file.retry(|bytes| self.replace("index.json", bytes))
    }

    /// Whether `index.json` was renamed since this was last asked.
    pub(crate) fn is_index_renamed(&self) -> bool {
        self.index_file.is_renamed()
    }

    /// From now on the `index.json` counts that is on the disk: the store is another one.
    pub(crate) fn forget_index(&self) {
        self.index_file.forget();
    }

    /// The entries of `images` whose manifest is not here. In an archive that was made beside a daemon `index.json` may be
    /// younger than the contents.
    pub(crate) fn missing(&self, images: &ImageIndex) -> Vec<Entry> {
        images.entries().filter(|entry| self.size_of(&entry.descriptor.digest).is_none()).collect()
    }

    /// A small file beside the contents; `None` where there is none, or one of more than 1 MiB.
    pub fn beside(&self, name: &str) -> Option<Vec<u8>> {
        own::read(&self.root.join(name), MAX_BESIDE).ok()
    }

    /// Replaces a small file beside the contents in one step.
    ///
    /// # Errors
    /// [`Error::Io`]; the old file is untouched then.
    pub fn put_beside(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        own::make_way(&self.root.join(name), Metadata::is_file)?;
        self.replace(name, bytes)
    }

    /// Replaces one of the store's small files. A kill leaves the temporary file where the next start removes it.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, temporary) = (self.root.join(name), self.ingests().join(format!("{name}.new")));
        match self.durability {
            Durability::Kernel => replace_file(&path, &temporary, bytes)?,
            Durability::Synced => replace_file_durably(&path, &temporary, bytes)?,
        }
        Ok(())
    }
}

/// The longest of the files that are the same in every store, and of other short ones, in bytes.
pub(crate) const SMALL: u64 = 4096;
/// The longest `index.json`, in bytes: some hundred thousand images. It is read into memory.
const MAX_INDEX: u64 = 256 << 20;
/// The longest of the files beside contents, in bytes.
pub(crate) const MAX_BESIDE: u64 = 1 << 20;

/// What marks a directory, or a tar, as an OCI layout.
pub(crate) const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// The file by whose mode a store tells that its modes are kept.
pub(crate) const MODES: &str = "modes";

/// The files that are the same in every store.
const FILES: [(&str, &str); 3] = [
    ("oci-layout", OCI_LAYOUT),
    // Backup tools leave such directories out, and git must not see them.
    (
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of container images, made by hubcap.\n",
    ),
    (".gitignore", "*\n"),
];

/// Bytes of a file, or of all files of a directory.
fn size_of_files(path: &Path) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            own::entries(path).map(|entry| size_of_files(&entry.path())).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// Where a content is, from the root of any OCI layout on.
pub(crate) fn content_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The digest that a path below `blobs/` names.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    let algorithm = path.parent()?.file_name()?.to_str()?;
    format!("{algorithm}:{}", path.file_name()?.to_str()?).parse().ok()
}
