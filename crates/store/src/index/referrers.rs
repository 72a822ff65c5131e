//! Lists of referrers in the index.

use hubcap_oci::{Digest, Target};

use super::Index;
use super::trees::{TagEntry, link_key};

impl Index {
    /// The list of a manifest's referrers.
    pub(crate) fn referrers(&self, target: &Target, subject: &Digest) -> Option<TagEntry> {
        let key = link_key(target, subject);
        self.db.with(|trees| trees.referrers(&key))?
    }

    pub(crate) fn put_referrers(&self, target: &Target, subject: &Digest, list: &TagEntry) {
        let key = link_key(target, subject);
        self.db.with(|trees| trees.put_referrers(&key, list));
    }

    /// Makes the lists of a repository ones that must be asked for again.
    pub(crate) fn expire_referrers(&self, target: &Target) {
        self.db.with(|trees| trees.expire_referrers(target));
    }
}
