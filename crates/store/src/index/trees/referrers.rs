//! Lists of referrers, by repository and subject.

use hubcap_oci::{Digest, Target};

use super::{TagEntry, Trees, Validation, key, read_link_key, read_tag, write_tag};

impl Trees {
    /// The list of a [`link_key`](super::link_key): of a repository and a subject.
    pub(in crate::index) fn referrers(&self, key: &[u8]) -> sled::Result<Option<TagEntry>> {
        Ok(self.referrers.get(key)?.and_then(|value| read_tag(&value)))
    }

    pub(in crate::index) fn put_referrers(&self, key: &[u8], list: &TagEntry) -> sled::Result<()> {
        self.referrers.insert(key, write_tag(list))
    }

    /// All lists of all repositories, with their subjects.
    pub(in crate::index) fn all_referrers(&self) -> sled::Result<Vec<(Target, Digest, TagEntry)>> {
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            let (target, subject) = read_link_key(key)?;
            Some((target, subject, read_tag(value)?))
        };
        Ok(self.referrers.scan(b"")?.iter().filter_map(read).collect())
    }

    /// Makes the lists of a repository ones that must be asked for again.
    pub(in crate::index) fn expire_referrers(&self, target: &Target) -> sled::Result<()> {
        for (key, value) in self.referrers.scan(&key(target, b""))? {
            if let Some(list) = read_tag(&value) {
                self.put_referrers(&key, &TagEntry { validated: Validation::Unknown, ..list })?;
            }
        }
        Ok(())
    }

    /// Forgets the lists of a repository.
    pub(in crate::index) fn forget_referrers(&self, target: &Target) -> sled::Result<()> {
        for (key, _) in self.referrers.scan(&key(target, b""))? {
            self.referrers.remove(key)?;
        }
        Ok(())
    }
}
