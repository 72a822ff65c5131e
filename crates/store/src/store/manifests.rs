//! Manifests and tags: contents that hubcap reads itself, so each read is verified.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hubcap_oci::{Descriptor, Digest, Manifest, Tag, Target};

use crate::error::Error;
use crate::index::TagEntry;
use crate::layout::image_index::wrapper;
use crate::mutex::lock;
use crate::store::Store;

/// Bytes of manifests that are kept in memory: a hot manifest costs no disk access, no hash and no parsing. What was parsed
/// of them takes about as much again.
const RECENT_BYTES: usize = 8 << 20;

impl Store {
    /// Stores a manifest for a repository, with everything that it points at linked to that repository, and moves
    /// the tag to it.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] when the bytes are not the manifest's, [`Error::Io`].
    pub fn put_manifest(
        &self,
        target: &Target,
        manifest: &Manifest,
        bytes: &Bytes,
        tag: Option<&Tag>,
    ) -> Result<(), Error> {
        let Manifest { descriptor, links } = manifest;
        self.put_small(descriptor.digest, bytes)?;
        let index = &self.0.index;
        // An entry that is reachable from another one of this repository needs none of its own.
        if tag.is_some() || !index.is_linked(target, &descriptor.digest) {
            if let Some((digest, bytes)) = wrapper(descriptor) {
                self.put_small(digest, &bytes.into())?;
            }
            let mut images = lock(&self.0.images);
            // Rewritten only when it says something new: thousands of entries are some MB.
            let private = index.is_private(target);
            if !images.contains((target, tag), descriptor, private) {
                images.put((target, tag), descriptor, private);
                self.0.layout.write_index(&images)?;
            }
        }
        index.put_media_type(&descriptor.digest, &descriptor.media_type);
        let mut linked = vec![(descriptor.digest, descriptor.size)];
        linked.extend(links.manifests.iter().chain(&links.blobs).map(|link| (link.digest, link.size)));
        index.link(target, &linked);
        if let Some(tag) = tag {
            let entry =
                TagEntry { descriptor: Arc::new(descriptor.clone()), validated_at: SystemTime::now() };
            index.put_tag(target, tag, &entry);
        }
        Ok(())
    }

    /// Stores a small content, unless it is there.
    fn put_small(&self, digest: Digest, bytes: &Bytes) -> Result<(), Error> {
        if !self.0.layout.blob(&digest).exists() {
            let mut ingest = self.ingest(digest, Some(bytes.len() as u64))?;
            ingest.write(bytes)?;
            ingest.commit()?;
        }
        Ok(())
    }

    /// A stored manifest, verified. One that is damaged is quarantined and counts as missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be read.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<(Arc<Manifest>, Bytes)>, Error> {
        let found = self.read_manifest(digest)?;
        if found.is_some() {
            self.0.index.used(digest);
        }
        Ok(found)
    }

    /// A manifest that hubcap itself wants to look at: that is no use of it.
    fn read_manifest(&self, digest: &Digest) -> Result<Option<(Arc<Manifest>, Bytes)>, Error> {
        if let Some(found) = lock(&self.0.recent).find(digest) {
            return Ok(Some(found));
        }
        let Some(bytes) = self.0.layout.small(digest)? else { return Ok(None) };
        let bytes = Bytes::from(bytes);
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            self.quarantine(digest);
            return Ok(None);
        }
        let media_type = self.0.index.media_type(digest);
        let Ok(manifest) = Manifest::parse(*digest, &bytes, media_type.as_deref()) else { return Ok(None) };
        let found = (Arc::new(manifest), bytes);
        lock(&self.0.recent).keep(*digest, found.clone());
        Ok(Some(found))
    }

    /// Marks a repository's images, those to come as well, as given only to a login.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written.
    pub fn mark_private(&self, target: &Target) -> Result<(), Error> {
        self.0.index.mark_private(target);
        let mut images = lock(&self.0.images);
        images.mark_private(target);
        self.0.layout.write_index(&images)
    }

    /// Whether a registry gives the repository only to a login, as far as that was found out.
    pub fn is_private(&self, target: &Target) -> bool {
        self.0.index.is_private(target)
    }

    /// Whether a registry gave this content as a manifest.
    pub fn is_manifest(&self, digest: &Digest) -> bool {
        self.0.index.media_type(digest).is_some()
    }

    /// What a tag means here, and since when; whether its manifest is still stored is another question.
    pub fn tag(&self, target: &Target, tag: &Tag) -> Option<TagEntry> {
        self.0.index.tag(target, tag)
    }

    /// The upstream has said again that the tag means what it meant.
    ///
    /// # Errors
    /// None for a corrupt index, which is rebuilt.
    pub fn touch_tag(&self, target: &Target, tag: &Tag) -> Result<(), Error> {
        if let Some(mut entry) = self.0.index.tag(target, tag) {
            entry.validated_at = SystemTime::now();
            self.0.index.put_tag(target, tag, &entry);
        }
        Ok(())
    }

    /// Makes a tag one that must be asked for again: it was moved upstream.
    pub fn expire_tag(&self, target: &Target, tag: &Tag) {
        if let Some(mut entry) = self.0.index.tag(target, tag) {
            entry.validated_at = SystemTime::UNIX_EPOCH;
            self.0.index.put_tag(target, tag, &entry);
        }
    }

    /// The tags of a repository that are stored, sorted.
    pub fn tags(&self, target: &Target) -> Vec<Tag> {
        self.0.index.tags(target)
    }

    /// The stored manifests of a repository whose subject is `subject`, as a referrers list describes them
    /// (distribution-spec, "Listing Referrers").
    ///
    /// # Errors
    /// [`Error::Io`] when a manifest cannot be read.
    pub fn referrers(&self, target: &Target, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        #[derive(serde::Deserialize)]
        struct Annotated {
            #[serde(default)]
            annotations: std::collections::BTreeMap<String, String>,
        }
        let mut found = Vec::new();
        for digest in self.0.index.linked(target) {
            // Only manifests have a media type in the index; layers are not even opened.
            if self.0.index.media_type(&digest).is_none() {
                continue;
            }
            let Some((manifest, bytes)) = self.read_manifest(&digest)? else { continue };
            if manifest.links.subject == Some(*subject) {
                let mut descriptor = manifest.descriptor.clone();
                descriptor.artifact_type = manifest.links.artifact_type.clone();
                let annotated = serde_json::from_slice::<Annotated>(&bytes);
                descriptor.annotations = annotated.map(|annotated| annotated.annotations).unwrap_or_default();
                found.push(descriptor);
            }
        }
        Ok(found)
    }
}

/// The manifests that were asked for last, verified already.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    found: HashMap<Digest, (Arc<Manifest>, Bytes, u64)>,
    bytes: usize,
    clock: u64,
}

impl Recent {
    fn find(&mut self, digest: &Digest) -> Option<(Arc<Manifest>, Bytes)> {
        self.clock += 1;
        let (manifest, bytes, used) = self.found.get_mut(digest)?;
        *used = self.clock;
        Some((Arc::clone(manifest), bytes.clone()))
    }

    pub(crate) fn forget(&mut self, digest: &Digest) {
        if let Some((_, bytes, _)) = self.found.remove(digest) {
            self.bytes -= bytes.len();
        }
    }

    fn keep(&mut self, digest: Digest, (manifest, bytes): (Arc<Manifest>, Bytes)) {
        self.clock += 1;
        self.bytes += bytes.len();
        if let Some((_, old, _)) = self.found.insert(digest, (manifest, bytes, self.clock)) {
            self.bytes -= old.len();
        }
        // A scan over some hundred entries, and only when one goes.
        while self.bytes > RECENT_BYTES && self.found.len() > 1 {
            let oldest = self.found.iter().min_by_key(|(_, (_, _, used))| *used).map(|(digest, _)| *digest);
            let Some((_, gone, _)) = oldest.and_then(|oldest| self.found.remove(&oldest)) else { break };
            self.bytes -= gone.len();
        }
    }
}
