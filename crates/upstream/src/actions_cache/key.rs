//! What names an entry.

use hubcap_oci::{Algorithm, Digest};

/// A key and a version. The service compares both, and takes the version for no more than characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey {
    key: String,
    version: String,
}

impl EntryKey {
    /// The entry that is a content. A key that was reserved by an upload that never ended is taken for ever: then the next
    /// slot is used.
    pub fn content(digest: &Digest, slot: u32) -> Self {
        let name = match digest.algorithm() {
            Algorithm::Sha256 => digest.hex(),
            _ => digest.to_string().replace(':', "-"),
        };
        Self { key: format!("hubcap-b1-{name}"), version: version(&format!("hubcap blob 1 {slot}")) }
    }

    /// The entry that is a pack of many contents, under a key of the user's choice.
    pub fn pack(key: impl Into<String>) -> Self {
        Self { key: key.into(), version: version("hubcap pack 1") }
    }

    /// The key, which GitHub shows to the repository's users.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// 64 characters.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The same version under another key.
    pub(super) fn matched(key: String, version: &str) -> Self {
        Self { key, version: version.into() }
    }
}

fn version(of: &str) -> String {
    Digest::of(Algorithm::Sha256, of.as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_has_an_entry_of_its_own_in_each_slot() {
        let digest = Digest::of(Algorithm::Sha256, b"content");
        let (first, second) = (EntryKey::content(&digest, 0), EntryKey::content(&digest, 1));
        assert_eq!(first.key(), format!("hubcap-b1-{}", digest.hex()));
        assert_eq!(first.key(), second.key());
        assert_ne!(first.version(), second.version());
        assert_eq!(first.version().len(), 64);
        let other = EntryKey::content(&Digest::of(Algorithm::Sha512, b"content"), 0);
        assert!(other.key().starts_with("hubcap-b1-sha512-"), "{}", other.key());
    }
}
