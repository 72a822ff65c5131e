//! One name for everything that a store holds: the same content has the same key on every machine.

use hubcap_oci::{Algorithm, Digest, Verifier};

use super::Layout;
use crate::error::Error;

/// What is hashed begins with this, so that another way of counting gives other keys.
const FORM: &str = "hubcap-store-1\n";
/// Letters of the key: 128 bits, which nobody meets twice by chance.
const LENGTH: usize = 32;

impl Layout {
    /// The key of the store: lowercase hexadecimal, computed from which contents are here, which tags and repositories name
    /// them, and what is private. Not from times, nor from paths, nor from the index. Contents are not read: their names
    /// are their digests.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`] for an `index.json` that cannot be read.
    pub fn key(&self) -> Result<String, Error> {
        let mut entries: Vec<String> = self
            .read_index()?
            .entries()
            .map(|entry| format!("{} {} {}\n", entry.name(), entry.descriptor.digest, entry.private))
            .collect();
        entries.sort_unstable();
        entries.dedup();
        let mut contents: Vec<Digest> = self.digests().map(|(digest, _)| digest).collect();
        contents.sort_unstable();
        let mut hash = Verifier::new(Algorithm::Sha256);
        hash.update(FORM.as_bytes());
        for entry in entries {
            hash.update(entry.as_bytes());
        }
        for digest in contents {
            hash.update(digest.algorithm().name().as_bytes());
            hash.update(digest.hash());
        }
        let mut key = hash.finish().hex();
        key.truncate(LENGTH);
        Ok(key)
    }
}
