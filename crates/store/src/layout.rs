//! Which file is where: an OCI image layout (image-spec, image-layout.md), and beside it what is ours alone.
//!
//! ```text
//! STORE/oci-layout           {"imageLayoutVersion":"1.0.0"}
//!       index.json           every tag and every manifest that was pulled by digest
//!       blobs/<alg>/<hex>    verified contents, nothing else
//!       ingest/              contents that are being written
//!       quarantine/          contents that turned out to be damaged
//!       index-sled034-v1/    the index; may be deleted at any time
//!       index.seal           a digest of it, written at a clean shutdown
//!       lock                 who has the store open
//!       CACHEDIR.TAG, .gitignore
//! ```

pub(crate) mod key;
pub mod list;
pub(crate) mod verify;

use std::path::{Path, PathBuf};

use fs_err as fs;
use hubcap_oci::{Algorithm, Descriptor, Digest, Tag, Target, media_type};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The image's whole name, as `skopeo inspect oci:STORE:NAME` takes it.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The repository that an entry belongs to: `docker.io/library/alpine`.
const REPOSITORY: &str = "io.hubcap.repository";
/// The media type as the registry gave it, where the entry has to say another one.
const MEDIA_TYPE: &str = "io.hubcap.media-type";
/// The digest and length of the registry's manifest, where the entry names a [`wrapper`] index instead.
const DIGEST: &str = "io.hubcap.digest";
const SIZE: &str = "io.hubcap.size";
/// "true" where a registry gave it only to a login.
const PRIVATE: &str = "io.hubcap.private";

/// The paths of a store.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout at `root`, as it is.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes what is missing.
    pub(crate) fn create(root: &Path) -> Result<Self, Error> {
        let layout = Self::at(root);
        for algorithm in Algorithm::ALL {
            fs::create_dir_all(root.join("blobs").join(algorithm.name()))?;
        }
        fs::create_dir_all(layout.ingests())?;
        fs::create_dir_all(layout.quarantine())?;
        for (name, text) in FILES {
            // Compared, not only looked for: an emptied oci-layout would make the whole store unreadable to others.
            if fs::read(root.join(name)).ok().as_deref() != Some(text.as_bytes()) {
                layout.replace(name, text.as_bytes())?;
            }
        }
        if !root.join("index.json").exists() {
            layout.write_index(&ImageIndex::default())?;
        }
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the content of that name is, or would be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Where contents are, one directory for each algorithm.
    pub(crate) fn contents(&self) -> [PathBuf; 2] {
        Algorithm::ALL.map(|algorithm| self.root.join("blobs").join(algorithm.name()))
    }

    /// Every committed content.
    pub(crate) fn digests(&self) -> impl Iterator<Item = (Digest, PathBuf)> {
        self.files().filter_map(|path| Some((digest_of(&path)?, path)))
    }

    /// Files among the contents whose names are no digests.
    pub(crate) fn foreign_files(&self) -> impl Iterator<Item = PathBuf> {
        self.files().filter(|path| digest_of(path).is_none())
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = |dir| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        self.contents().into_iter().flat_map(files)
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

    /// The name carries sled's format: another version of sled opens it silently as empty.
    pub(crate) fn sled(&self) -> PathBuf {
        self.root.join("index-sled034-v1")
    }

    /// Where a corrupt index is moved to.
    pub(crate) fn corrupt_sled(&self) -> PathBuf {
        self.sled().with_extension("bad")
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
            match fs::read(&path) {
                Ok(bytes) if bytes == text.as_bytes() => None,
                Ok(_) => Some((path, "it is not what it should be".into())),
                Err(error) => Some((path, error.kind().to_string())),
            }
        })
    }

    /// Throws away what an earlier process had begun.
    pub(crate) fn discard_ingests(&self) {
        for entry in fs::read_dir(self.ingests()).into_iter().flatten().flatten() {
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(target: "hubcap::store", "a left-over could not be removed: {error}");
            }
        }
    }

    /// Reads `index.json`; a missing one is empty.
    pub(crate) fn read_index(&self) -> Result<ImageIndex, Error> {
        let path = self.root.join("index.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Damaged { path, why: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ImageIndex::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces `index.json`.
    pub(crate) fn write_index(&self, index: &ImageIndex) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(index).map_err(std::io::Error::from)?;
        self.replace("index.json", &bytes)
    }

    /// Replaces a small file in one step: a reader, or tar, sees the old one or the new one.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let temporary = self.ingests().join(format!("{name}.new"));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.root.join(name))?;
        Ok(())
    }
}

/// What marks a directory, or a tar, as an OCI layout.
pub(crate) const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

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

/// The digest that a path below `blobs/` names.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    let algorithm = path.parent()?.file_name()?.to_str()?;
    format!("{algorithm}:{}", path.file_name()?.to_str()?).parse().ok()
}

/// `index.json`: an OCI image index whose entries carry the images' names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageIndex {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

impl Default for ImageIndex {
    fn default() -> Self {
        Self { schema_version: 2, media_type: media_type::OCI_INDEX.into(), manifests: Vec::new() }
    }
}

/// One entry of `index.json`, read.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) tag: Option<Tag>,
    /// As the registry gave it: true media type, no annotations.
    pub(crate) descriptor: Descriptor,
    /// Whether the registry gives it only to a login.
    pub(crate) private: bool,
    /// The [`wrapper`] index that the entry names in its manifest's place.
    pub(crate) wrapper: Option<Digest>,
}

impl Entry {
    /// The image's whole name: with its tag, else with its digest.
    pub(crate) fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.target),
            None => format!("{}@{}", self.target, self.descriptor.digest),
        }
    }
}

impl ImageIndex {
    /// The entries that hubcap wrote; foreign ones are left alone.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.manifests.iter().filter_map(read_entry)
    }

    /// Adds a manifest, or moves its tag to it. An entry that loses its tag stays: its content may be in use.
    pub(crate) fn put(
        &mut self,
        (target, tag): (&Target, Option<&Tag>),
        descriptor: &Descriptor,
        private: bool,
    ) {
        let repository = target.to_string();
        let name = tag.map(|tag| format!("{repository}:{tag}"));
        let entry = write_entry((&repository, name.as_ref()), descriptor, private);
        // One that says nothing new is dropped: the same manifest without a tag, or under the same one.
        self.manifests.retain(|old| {
            let named = old.annotations.get(REF_NAME);
            let ours = old.annotations.get(REPOSITORY) == Some(&repository);
            !(ours && old.digest == entry.digest && (named.is_none() || named == name.as_ref()))
        });
        if name.is_some() {
            for old in self.manifests.iter_mut().filter(|old| old.annotations.get(REF_NAME) == name.as_ref())
            {
                old.annotations.remove(REF_NAME);
            }
        }
        self.manifests.push(entry);
    }

    /// Whether [`put`](Self::put) would change nothing.
    pub(crate) fn contains(
        &self,
        (target, tag): (&Target, Option<&Tag>),
        descriptor: &Descriptor,
        private: bool,
    ) -> bool {
        let repository = target.to_string();
        let name = tag.map(|tag| format!("{repository}:{tag}"));
        self.manifests.contains(&write_entry((&repository, name.as_ref()), descriptor, private))
    }

    /// Marks a repository's entries as private.
    pub(crate) fn mark_private(&mut self, target: &Target) {
        let repository = target.to_string();
        for entry in &mut self.manifests {
            if entry.annotations.get(REPOSITORY) == Some(&repository) {
                entry.annotations.insert(PRIVATE.into(), "true".into());
            }
        }
    }

    /// Takes entries out.
    pub(crate) fn remove(&mut self, entries: &[&Entry]) {
        let goes = |old: &Descriptor| {
            let read = read_entry(old);
            read.is_some_and(|old| {
                let same = |one: &&Entry| {
                    one.target == old.target
                        && one.tag == old.tag
                        && one.descriptor.digest == old.descriptor.digest
                };
                entries.iter().any(same)
            })
        };
        self.manifests.retain(|old| !goes(old));
    }
}

/// The wrapper index that an entry names instead of a manifest of Docker's own type; `None` for other types.
///
/// containers/image (skopeo, podman) passes over entries whose type is not OCI's own, and refuses a Docker manifest
/// that is called an OCI one. It does open an OCI index with a Docker manifest in it. So the entry names such an
/// index, of this one manifest, which stays byte for byte the registry's.
pub(crate) fn wrapper(descriptor: &Descriptor) -> Option<(Digest, Vec<u8>)> {
    (descriptor.media_type == media_type::DOCKER_MANIFEST).then(|| {
        let index = ImageIndex { manifests: vec![descriptor.clone()], ..ImageIndex::default() };
        let bytes = serde_json::to_vec(&index).unwrap_or_default();
        (Digest::of(Algorithm::Sha256, &bytes), bytes)
    })
}

fn write_entry(
    (repository, name): (&str, Option<&String>),
    descriptor: &Descriptor,
    private: bool,
) -> Descriptor {
    let Descriptor { media_type, digest, size, .. } = descriptor;
    let mut entry = match (wrapper(descriptor), media_type.as_str()) {
        (Some((wrapper, bytes)), _) => {
            let mut entry = Descriptor::new(media_type::OCI_INDEX, wrapper, bytes.len() as u64);
            entry.annotations.insert(DIGEST.into(), digest.to_string());
            entry.annotations.insert(SIZE.into(), size.to_string());
            entry
        }
        // The twins are alike field by field, and nobody minds.
        (None, media_type::DOCKER_LIST) => Descriptor::new(media_type::OCI_INDEX, *digest, *size),
        (None, other) => Descriptor::new(other, *digest, *size),
    };
    if entry.media_type != *media_type {
        entry.annotations.insert(MEDIA_TYPE.into(), media_type.clone());
    }
    entry.annotations.insert(REPOSITORY.into(), repository.into());
    entry.annotations.extend(name.map(|name| (REF_NAME.into(), name.clone())));
    if private {
        entry.annotations.insert(PRIVATE.into(), "true".into());
    }
    entry
}

/// An entry that hubcap wrote; `None` for any other.
pub(crate) fn read_entry(entry: &Descriptor) -> Option<Entry> {
    let repository = entry.annotations.get(REPOSITORY)?;
    let (registry, path) = repository.split_once('/')?;
    let target = Target { registry: registry.parse().ok()?, repository: path.parse().ok()? };
    let tag = match entry.annotations.get(REF_NAME) {
        Some(name) => Some(name.strip_prefix(repository.as_str())?.strip_prefix(':')?.parse().ok()?),
        None => None,
    };
    let mut descriptor = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
    if let Some(media_type) = entry.annotations.get(MEDIA_TYPE) {
        descriptor.media_type.clone_from(media_type);
    }
    let mut wrapper = None;
    if let (Some(digest), Some(size)) = (entry.annotations.get(DIGEST), entry.annotations.get(SIZE)) {
        wrapper = Some(descriptor.digest);
        (descriptor.digest, descriptor.size) = (digest.parse().ok()?, size.parse().ok()?);
    }
    let private = entry.annotations.contains_key(PRIVATE);
    Some(Entry { target, tag, descriptor, private, wrapper })
}
