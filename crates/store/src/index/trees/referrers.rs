//! Lists of referrers in sled, by repository and subject.

use hubcap_oci::{Digest, Target};

use super::{TagEntry, Trees, Validation, key, read_digest, read_tag, read_target, write_tag};

impl Trees {
    /// The list of a [`link_key`](super::link_key): of a repository and a subject.
    pub(in crate::index) fn referrers(&self, key: &[u8]) -> sled::Result<Option<TagEntry>> {
        Ok(self.referrers.get(key)?.and_then(|value| read_tag(&value)))
    }

    pub(in crate::index) fn put_referrers(&self, key: &[u8], list: &TagEntry) -> sled::Result<()> {
        self.referrers.insert(key, write_tag(list)).map(drop)
    }

    /// All lists of all repositories, with their subjects.
    pub(in crate::index) fn all_referrers(&self) -> sled::Result<Vec<(Target, Digest, TagEntry)>> {
        let all: Vec<_> = self.referrers.iter().collect::<sled::Result<_>>()?;
        let read = |(key, value): &(sled::IVec, sled::IVec)| {
            // NUL is in no name, but it may be in a digest.
            let end = key.iter().position(|byte| *byte == 0)?;
            let target = read_target(std::str::from_utf8(&key[..end]).ok()?)?;
            Some((target, read_digest(&key[end + 1..])?, read_tag(value)?))
        };
        Ok(all.iter().filter_map(read).collect())
    }

    /// Makes the lists of a repository ones that must be asked for again.
    pub(in crate::index) fn expire_referrers(&self, target: &Target) -> sled::Result<()> {
        for found in self.referrers.scan_prefix(key(target, b"")) {
            let (key, value) = found?;
            if let Some(list) = read_tag(&value) {
                self.put_referrers(&key, &TagEntry { validated: Validation::Unknown, ..list })?;
            }
        }
        Ok(())
    }

    /// Forgets the lists of a repository.
    pub(in crate::index) fn forget_referrers(&self, target: &Target) -> sled::Result<()> {
        let keys = self.referrers.scan_prefix(key(target, b"")).keys();
        let mut gone = sled::Batch::default();
        for key in keys {
            gone.remove(key?);
        }
        self.referrers.apply_batch(gone)
    }
}
