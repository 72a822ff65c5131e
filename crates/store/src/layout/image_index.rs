//! `index.json`: an OCI image index whose entries name what is in the store, and the annotations that say the rest.

use std::collections::HashSet;

use hubcap_oci::{Algorithm, Descriptor, Digest, Tag, Target, media_type};
use serde::{Deserialize, Serialize};

/// The image's whole name, as `skopeo inspect oci:STORE:NAME` takes it.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The repository that an entry belongs to: `docker.io/library/alpine`.
const REPOSITORY: &str = "io.hubcap.repository";
/// The media type as the registry gave it, where the entry has to say another one.
const MEDIA_TYPE: &str = "io.hubcap.media-type";
/// The digest and length of the registry's manifest, where the entry names a [`wrapper`] index instead.
const DIGEST: &str = "io.hubcap.digest";
const SIZE: &str = "io.hubcap.size";
/// The manifest whose referrers the entry lists, where it is such a list.
const SUBJECT: &str = "io.hubcap.referrers-of";
/// "true" where a registry gave it only to a login.
pub(crate) const PRIVATE: &str = "io.hubcap.private";

/// One manifest of a repository has so many tags at most: they take room, and no content goes with them.
const MOST_TAGS: usize = 256;

/// The file, as it is read and written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The manifest whose referrers the descriptor's index lists; `None` for an image.
    pub(crate) subject: Option<Digest>,
}

impl Entry {
    /// The image's whole name: with its tag, else with its digest. A list of referrers is named by its subject.
    pub(crate) fn name(&self) -> String {
        match (&self.tag, &self.subject) {
            (_, Some(subject)) => format!("{}@{subject} (referrers)", self.target),
            (Some(tag), None) => format!("{}:{tag}", self.target),
            (None, None) => format!("{}@{}", self.target, self.descriptor.digest),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.target == other.target
            && self.tag == other.tag
            && self.subject == other.subject
            && self.descriptor.digest == other.descriptor.digest
    }
}

impl ImageIndex {
    /// The images' own manifests, and whether they are private.
    pub(crate) fn tops(&self) -> Vec<(Digest, bool)> {
        self.entries().map(|entry| (entry.descriptor.digest, entry.private)).collect()
    }

    /// The entries that hubcap wrote; foreign ones are left alone.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.manifests.iter().filter_map(read_entry)
    }

    /// Adds a manifest, or moves its tag to it. An entry that loses its tag stays: its content may be in use. Returns the tag that
    /// is forgotten for it, where the manifest has too many.
    pub(crate) fn put(
        &mut self,
        target: &Target,
        tag: Option<&Tag>,
        descriptor: &Descriptor,
        private: bool,
    ) -> Option<Tag> {
        let entry = write_entry(target, tag, descriptor, private);
        let (repository, name) = (entry.annotations.get(REPOSITORY), entry.annotations.get(REF_NAME));
        // One that says nothing new is dropped: the same manifest without a tag, or under the same one.
        self.manifests.retain(|old| {
            let named = old.annotations.get(REF_NAME);
            let same = old.digest == entry.digest && old.annotations.get(REPOSITORY) == repository;
            let is_list = old.annotations.contains_key(SUBJECT);
            !(same && !is_list && (named.is_none() || named == name))
        });
        if name.is_some() {
            for old in self.manifests.iter_mut().filter(|old| old.annotations.get(REF_NAME) == name) {
                old.annotations.remove(REF_NAME);
            }
        }
        let is_tag = |old: &Descriptor| {
            let (of, named) = (old.annotations.get(REPOSITORY), old.annotations.contains_key(REF_NAME));
            named && old.digest == entry.digest && of == repository
        };
        let tags: Vec<usize> = (0..self.manifests.len()).filter(|at| is_tag(&self.manifests[*at])).collect();
        self.manifests.push(entry);
        let oldest = tags.first().filter(|_| tags.len() >= MOST_TAGS)?;
        read_entry(&self.manifests.remove(*oldest))?.tag
    }

    /// Whether [`put`](Self::put) would change nothing.
    pub(crate) fn contains(
        &self,
        target: &Target,
        tag: Option<&Tag>,
        descriptor: &Descriptor,
        private: bool,
    ) -> bool {
        self.manifests.contains(&write_entry(target, tag, descriptor, private))
    }

    /// Puts a list of referrers in the place of the one that was there. Returns whether that says something new.
    pub(crate) fn put_referrers(
        &mut self,
        target: &Target,
        subject: &Digest,
        list: &Descriptor,
        private: bool,
    ) -> bool {
        let mut entry = write_entry(target, None, list, private);
        entry.annotations.insert(SUBJECT.into(), subject.to_string());
        if self.manifests.contains(&entry) {
            return false;
        }
        let place = |one: &Descriptor| [REPOSITORY, SUBJECT].map(|name| one.annotations.get(name).cloned());
        let this = place(&entry);
        self.manifests.retain(|old| place(old) != this);
        self.manifests.push(entry);
        true
    }

    /// Adds entries of another index, none of which has a tag or a subject that this one has, or another of them. A manifest that
    /// had no tag loses that entry where it gets one with a tag.
    pub(crate) fn extend(&mut self, entries: &[Entry]) {
        let mut new = Vec::new();
        for Entry { target, tag, descriptor, private, subject, .. } in entries {
            let mut entry = write_entry(target, tag.as_ref(), descriptor, *private);
            entry.annotations.extend(subject.map(|subject| (SUBJECT.to_owned(), subject.to_string())));
            new.push(entry);
        }
        let place = |one: &Descriptor| (one.digest, one.annotations.get(REPOSITORY).cloned());
        let tagged = new.iter().filter(|entry| entry.annotations.contains_key(REF_NAME));
        let tagged: HashSet<_> = tagged.map(place).collect();
        let says_more = |one: &Descriptor| {
            let is_named = one.annotations.contains_key(REF_NAME) || one.annotations.contains_key(SUBJECT);
            is_named || !tagged.contains(&place(one))
        };
        self.manifests.extend(new);
        self.manifests.retain(says_more);
    }

    /// The entries of another index that this one has under no name.
    pub(crate) fn lacking(&self, other: &Self) -> Vec<Entry> {
        let names: HashSet<String> = self.entries().map(|entry| entry.name()).collect();
        let contents: HashSet<(Target, Digest)> =
            self.entries().map(|entry| (entry.target, entry.descriptor.digest)).collect();
        let is_new = |entry: &Entry| match (&entry.tag, &entry.subject) {
            (None, None) => !contents.contains(&(entry.target.clone(), entry.descriptor.digest)),
            _ => !names.contains(&entry.name()),
        };
        other.entries().filter(is_new).collect()
    }

    /// Marks a repository's entries as private, and takes out its lists of referrers: a registry may list others for everybody
    /// than for a login.
    pub(crate) fn mark_private(&mut self, target: &Target) {
        self.mark(target, true);
    }

    /// The same for a repository that anybody may have.
    pub(crate) fn mark_public(&mut self, target: &Target) {
        self.mark(target, false);
    }

    fn mark(&mut self, target: &Target, private: bool) {
        let repository = target.to_string();
        self.manifests.retain(|entry| {
            let is_list = entry.annotations.contains_key(SUBJECT);
            !(is_list && entry.annotations.get(REPOSITORY) == Some(&repository))
        });
        for entry in &mut self.manifests {
            if entry.annotations.get(REPOSITORY) != Some(&repository) {
                continue;
            }
            if private {
                entry.annotations.insert(PRIVATE.into(), "true".into());
            } else {
                entry.annotations.remove(PRIVATE);
            }
        }
    }

    /// Takes entries out.
    pub(crate) fn remove(&mut self, entries: &[&Entry]) {
        self.manifests
            .retain(|old| read_entry(old).is_none_or(|old| !entries.iter().any(|one| one.is_same(&old))));
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

fn write_entry(target: &Target, tag: Option<&Tag>, descriptor: &Descriptor, private: bool) -> Descriptor {
    let repository = target.to_string();
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
    entry.annotations.extend(tag.map(|tag| (REF_NAME.into(), format!("{repository}:{tag}"))));
    entry.annotations.insert(REPOSITORY.into(), repository);
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
    let subject = match entry.annotations.get(SUBJECT) {
        Some(subject) => Some(subject.parse().ok()?),
        None => None,
    };
    let private = entry.annotations.contains_key(PRIVATE);
    Some(Entry { target, tag, descriptor, private, wrapper, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_manifest_the_newest_tags_are_kept() {
        let target: Target = Target {
            registry: "docker.io".parse().expect("a registry"),
            repository: "library/x".parse().expect("a repository"),
        };
        let manifest = |content: &[u8]| {
            Descriptor::new(media_type::OCI_MANIFEST, Digest::of(Algorithm::Sha256, content), 1)
        };
        let mut images = ImageIndex::default();
        let tag = |number: usize| format!("v{number}").parse::<Tag>().expect("a tag");
        let forgotten: Vec<Option<Tag>> = (0..MOST_TAGS + 2)
            .map(|number| images.put(&target, Some(&tag(number)), &manifest(b"m"), false))
            .collect();
        assert!(forgotten[..MOST_TAGS].iter().all(Option::is_none));
        assert_eq!(forgotten[MOST_TAGS..], [Some(tag(0)), Some(tag(1))]);
        assert_eq!(images.entries().count(), MOST_TAGS);
        assert!(images.put(&target, Some(&tag(7)), &manifest(b"another"), false).is_none());
    }

    #[test]
    fn a_manifest_loses_its_entry_without_a_tag_when_it_gets_one_with_a_tag() {
        let target = Target {
            registry: "ghcr.io".parse().expect("a registry"),
            repository: "a/b".parse().expect("a repository"),
        };
        let manifest = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(Algorithm::Sha256, b"m"), 1);
        let tags: Vec<Tag> = ["1", "2"].map(|tag| tag.parse().expect("a tag")).into();
        let mut other = ImageIndex::default();
        for tag in &tags {
            other.put(&target, Some(tag), &manifest, false);
        }
        let mut index = ImageIndex::default();
        index.put(&target, None, &manifest, false);
        index.extend(&other.entries().collect::<Vec<_>>());
        let found: Vec<Option<Tag>> = index.entries().map(|entry| entry.tag).collect();
        assert_eq!(found, tags.into_iter().map(Some).collect::<Vec<_>>());
    }

    proptest::proptest! {
        #[test]
        fn no_index_json_of_an_archive_makes_the_reader_panic_or_leads_out_of_its_place(
            repository in "[a-z./:A-Z-]{0,30}|docker.io/library/x",
            name in "[a-z./:-]{0,30}|docker.io/library/x:[a-z./-]{0,10}",
            digest in "(sha256:)?[0-9a-f]{0,70}|sha256:[0-9a-f]{64}",
            subject in "[0-9a-f/]{0,70}|sha256:[0-9a-f]{64}",
            size: i64,
        ) {
            let entry = serde_json::json!({"mediaType": "a/b", "size": size, "digest": digest, "annotations": {
                REF_NAME: name, REPOSITORY: repository, DIGEST: digest, SIZE: size.to_string(), SUBJECT: subject}});
            let text = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
            if let Ok(index) = serde_json::from_str::<ImageIndex>(&text) {
                for entry in index.entries() {
                    // A tag may end in dots (`1..`), but no part of a path may be only dots.
                    let name = entry.name();
                    proptest::prop_assert!(!name.split(['/', ':']).any(|part| matches!(part, "." | "..")), "{name}");
                    let tag = entry.tag.as_ref().map(ToString::to_string).unwrap_or_default();
                    proptest::prop_assert!(!tag.contains('/'), "{tag}");
                }
            }
        }
    }
}
