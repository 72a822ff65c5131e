//! Manifests and tags: contents that hubcap reads itself, so each read is verified.

use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::{Descriptor, Digest, Manifest, Tag, Target};

use super::Store;
use crate::catalog::Catalog;
use crate::error::Error;
use crate::index::{By, TagEntry, Word};
use crate::layout::image_index::wrapper;
use crate::mutex::lock;
use crate::permissions::Readers;
use crate::validation::Validation;

impl Store {
    /// Stores a manifest for a repository, and moves the tag to it. What it points at is linked to the repository: that is
    /// enough for what anybody may have.
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
        self.put_manifest_for(target, manifest, bytes, tag, (Readers::All, Word::Registry))
    }

    /// The same for one that these may have, if the repository is not private, by this word.
    pub(crate) fn put_manifest_for(
        &self,
        target: &Target,
        manifest: &Manifest,
        bytes: &Bytes,
        tag: Option<&Tag>,
        (readers, word): (Readers, Word),
    ) -> Result<(), Error> {
        let Manifest { descriptor, links } = manifest;
        self.ensure()?;
        self.put_small(target, descriptor.digest, bytes, readers)?;
        let index = &self.0.catalog.index;
        // An entry that is reachable from another one of this repository needs none of its own.
        if tag.is_some() || !index.is_linked(target, &descriptor.digest) {
            self.name(target, tag, descriptor, readers)?;
        }
        let by = if readers == Readers::Local { By::Import } else { By::Registry };
        index.own(target, &descriptor.digest, Some(&descriptor.media_type), by, word);
        let named: Vec<Digest> = links.contents().map(|link| link.digest).collect();
        index.link(target, &named, word);
        if let Some(tag) = tag {
            let entry = TagEntry { descriptor: Arc::new(descriptor.clone()), validated: Validation::now() };
            index.put_tag(target, tag, &entry);
        }
        Ok(())
    }

    /// Moves a tag of a repository to a manifest that is stored, or notes that it means that still. Who may have the manifest stays as
    /// it is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_tag(
        &self,
        target: &Target,
        tag: &Tag,
        descriptor: &Descriptor,
        validated: Validation,
    ) -> Result<(), Error> {
        self.ensure()?;
        let Catalog { index, layout, .. } = &*self.0.catalog;
        self.name(target, Some(tag), descriptor, layout.readers(&descriptor.digest))?;
        index.put_tag(target, tag, &TagEntry { descriptor: Arc::new(descriptor.clone()), validated });
        Ok(())
    }

    /// Gives a stored manifest, which these may have, its entry in `index.json`.
    fn name(
        &self,
        target: &Target,
        tag: Option<&Tag>,
        descriptor: &Descriptor,
        readers: Readers,
    ) -> Result<(), Error> {
        let Catalog { index, layout, images, .. } = &*self.0.catalog;
        if let Some((digest, bytes)) = wrapper(descriptor) {
            self.put_small(target, digest, &bytes.into(), readers)?;
        }
        let mut images = lock(images);
        // Rewritten only when it says something new: thousands of entries are some MB.
        let private = index.is_private(target);
        if !images.contains(target, tag, descriptor, private) {
            if let Some(oldest) = images.put(target, tag, descriptor, private) {
                index.forget_tag(target, &oldest);
            }
            // The store may be another process's.
            if !self.is_read_only() {
                layout.keep_index(&images);
            }
        }
        Ok(())
    }

    /// Stores a small content of a repository for these, unless it is there.
    pub(super) fn put_small(
        &self,
        target: &Target,
        digest: Digest,
        bytes: &Bytes,
        readers: Readers,
    ) -> Result<(), Error> {
        // One that is here may be damaged, which nobody has found yet.
        let is_here =
            self.has(&digest) && self.0.catalog.layout.small(&digest)?.is_some_and(|found| found == *bytes);
        if !is_here {
            let mut ingest = self.ingest(digest, Some(bytes.len() as u64))?;
            ingest.write(bytes)?;
            self.mark_ingest(target, &ingest, readers);
            ingest.commit()?;
        } else if readers == Readers::All {
            self.publish(target, &digest);
        }
        Ok(())
    }

    /// A stored manifest, verified. One that is damaged is quarantined and counts as missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be read.
    pub fn manifest(
        &self,
        target: &Target,
        digest: &Digest,
    ) -> Result<Option<(Arc<Manifest>, Bytes)>, Error> {
        let Some(found) = self.0.catalog.manifest(target, digest)? else { return Ok(None) };
        // No registry has called it a manifest, and it points at nothing: it may be an image's configuration.
        if found.0.links.contents().next().is_none() && !self.is_manifest(target, digest) {
            return Ok(None);
        }
        self.0.catalog.index.used(digest);
        Ok(Some(found))
    }

    /// Marks a repository's images, those to come as well, as given only to a login.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written.
    pub fn mark_private(&self, target: &Target) -> Result<(), Error> {
        let Catalog { index, layout, images, .. } = &*self.0.catalog;
        index.mark_private(target);
        let mut images = lock(images);
        let was_public = images.entries().any(|entry| entry.target == *target && !entry.private);
        images.mark_private(target);
        // The store is another process's, which finds out itself who may have what.
        if self.is_read_only() {
            return Ok(());
        }
        if was_public {
            // Before `index.json` says so: where it calls a manifest private that everybody may read, a store has lost its modes.
            // And a kill must not make it public again where a full disk takes no `index.json`; modes need no room.
            index.put_marks_right(&images);
        }
        layout.write_index(&images)
    }

    /// Takes the mark back, of the repository's images and of what its registry gave for it: anybody may have them.
    ///
    /// # Errors
    /// [`Error::Io`] when `index.json` cannot be written.
    pub fn mark_public(&self, target: &Target) -> Result<(), Error> {
        let index = &self.0.catalog.index;
        index.mark_public(target);
        let layout = &self.0.catalog.layout;
        // Before the modes: see `mark_private`.
        let written = {
            let mut images = lock(&self.0.catalog.images);
            images.mark_public(target);
            if self.is_read_only() { Ok(()) } else { layout.write_index(&images) }
        };
        // What was imported the registry did not give; what another private repository has may have been here before an import.
        let of_others = index.owned_by_other_private(target);
        let is_given = |digest: &Digest| {
            index.is_given(target, digest)
                && layout.readers(digest) != Readers::Local
                && !of_others.contains(digest)
        };
        for digest in index.linked(target).into_iter().filter(is_given) {
            self.publish(target, &digest);
        }
        written
    }

    /// Something stored that the registry gave for the repository: what not everybody may have, where there is that; else a
    /// manifest; another one than `but`. A blob comes with its length in bytes.
    pub fn given(&self, target: &Target, but: Option<&Digest>) -> Option<(Digest, Option<u64>)> {
        let Catalog { index, layout, .. } = &*self.0.catalog;
        let mut given = index.linked(target);
        given.retain(|digest| Some(digest) != but && index.is_given(target, digest) && self.has(digest));
        let is_manifest = |digest: &Digest| index.media_type(target, digest).is_some();
        let guarded = given.iter().find(|digest| layout.readers(digest) == Readers::Granted);
        let one = *guarded.or_else(|| given.iter().find(|digest| is_manifest(digest)))?;
        Some((one, if is_manifest(&one) { None } else { layout.size_of(&one) }))
    }

    /// Whether a registry gives the repository only to a login, as far as that was found out.
    pub fn is_private(&self, target: &Target) -> bool {
        self.0.catalog.index.is_private(target)
    }

    /// The length that a stored manifest of the repository says of a blob, in bytes: a hint.
    ///
    /// # Errors
    /// [`Error::Io`] when a manifest cannot be read.
    pub fn hinted_size(&self, target: &Target, blob: &Digest) -> Result<Option<u64>, Error> {
        let Catalog { index, .. } = &*self.0.catalog;
        // Only manifests have a media type in the index; layers are not even opened.
        for digest in
            index.linked(target).into_iter().filter(|digest| index.media_type(target, digest).is_some())
        {
            let Some((manifest, _)) = self.0.catalog.manifest(target, &digest)? else { continue };
            let said = manifest.links.blobs().find(|link| link.digest == *blob).and_then(|link| link.size);
            if said.is_some() {
                return Ok(said);
            }
        }
        Ok(None)
    }

    /// Whether a registry gave this content of a repository as a manifest.
    pub fn is_manifest(&self, target: &Target, digest: &Digest) -> bool {
        self.0.catalog.index.media_type(target, digest).is_some()
    }

    /// What a tag means here, and since when; whether its manifest is still stored is another question.
    pub fn tag(&self, target: &Target, tag: &Tag) -> Option<TagEntry> {
        self.0.catalog.index.tag(target, tag)
    }

    /// Makes a tag one that must be asked for again: it was moved upstream.
    pub fn expire_tag(&self, target: &Target, tag: &Tag) {
        self.0.catalog.index.expire_tag(target, tag);
    }

    /// The tags of a repository that are stored, sorted.
    pub fn tags(&self, target: &Target) -> Vec<Tag> {
        self.0.catalog.index.tags(target)
    }
}
