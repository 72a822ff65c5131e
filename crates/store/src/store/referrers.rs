//! Lists of referrers, and the referrers that are stored whether a list names them or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Descriptor, Digest, Manifest, Referrer, Target, media_type};

use super::Store;
use crate::error::Error;
use crate::index::{TagEntry, Word};
use crate::mutex::lock;
use crate::permissions::Readers;
use crate::validation::Validation;

/// The list of a manifest's referrers, as its registry gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReferrers {
    /// In the registry's order, of all types.
    pub referrers: Vec<Referrer>,
    /// The list as it is stored.
    pub bytes: Bytes,
    /// When the registry last gave it.
    pub validated: Validation,
}

impl Store {
    /// Stores a list of the referrers of a repository's manifest, as [`write_list`](hubcap_oci::referrer::write_list) writes it,
    /// in the place of an older one. What it names is linked to the repository.
    ///
    /// # Errors
    /// [`Error::NoRoom`] and [`Error::ReadOnly`]; [`Error::Io`].
    pub fn put_referrers(&self, target: &Target, subject: &Digest, list: &Bytes) -> Result<(), Error> {
        let catalog = &self.0.catalog;
        let digest = Digest::of(Algorithm::Sha256, list);
        self.put_small(target, digest, list, Readers::All)?;
        let descriptor = Descriptor::new(media_type::OCI_INDEX, digest, list.len() as u64);
        let mut images = lock(&catalog.images);
        if images.put_referrers(target, subject, &descriptor, catalog.index.is_private(target)) {
            catalog.layout.keep_index(&images);
        }
        drop(images);
        if let Ok(Manifest { links, .. }) = Manifest::parse(digest, list, Some(media_type::OCI_INDEX)) {
            let named: Vec<Digest> = links.manifests.iter().map(|link| link.digest).collect();
            catalog.index.link(target, &named, Word::Registry);
        }
        let entry = TagEntry { descriptor: Arc::new(descriptor), validated: Validation::now() };
        catalog.index.put_referrers(target, subject, &entry);
        catalog.index.used(subject);
        Ok(())
    }

    /// The stored list of a manifest's referrers. One that is damaged is quarantined and counts as missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be read.
    pub fn referrers(&self, target: &Target, subject: &Digest) -> Result<Option<StoredReferrers>, Error> {
        let catalog = &self.0.catalog;
        let Some(entry) = catalog.index.referrers(target, subject) else { return Ok(None) };
        // Whoever wrote the store may have named any index as the list.
        let is_own = catalog.layout.readers(&entry.descriptor.digest) == Readers::All;
        if !is_own && !catalog.index.is_private(target) {
            return Ok(None);
        }
        let Some((_, bytes)) = catalog.manifest(target, &entry.descriptor.digest)? else { return Ok(None) };
        // Eviction goes by the subject's use: subjects without a referrer have one list among them.
        catalog.index.used(subject);
        let validated = entry.validated;
        Ok(Referrer::read_index(&bytes).map(|referrers| StoredReferrers { referrers, bytes, validated }))
    }

    /// How long the stored list of a manifest's referrers is, in bytes; `None` where there is none.
    pub fn referrers_size(&self, target: &Target, subject: &Digest) -> Option<u64> {
        Some(self.0.catalog.index.referrers(target, subject)?.descriptor.size)
    }

    /// Makes the lists of a repository ones that must be asked for again: something was pushed to it.
    pub fn expire_referrers(&self, target: &Target) {
        self.0.catalog.index.expire_referrers(target);
    }

    /// The stored manifests of a repository whose subject is `subject`, as a list of referrers describes them
    /// (distribution-spec, "Listing Referrers").
    ///
    /// # Errors
    /// [`Error::Io`] when a manifest cannot be read.
    pub fn manifests_referring_to(
        &self,
        target: &Target,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        #[derive(serde::Deserialize)]
        struct Annotated {
            #[serde(default)]
            annotations: BTreeMap<String, String>,
        }
        let mut found = Vec::new();
        for digest in self.0.catalog.index.linked(target) {
            // Only manifests have a media type in the index; layers are not even opened.
            if self.0.catalog.index.media_type(target, &digest).is_none() {
                continue;
            }
            let Some((manifest, bytes)) = self.0.catalog.manifest(target, &digest)? else { continue };
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
