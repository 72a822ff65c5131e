//! A manifest on its way to a client: its bytes, and what they say.

use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::manifest::signed_digest;
use hubcap_oci::{Algorithm, Digest, Manifest, Reference};

use crate::error::Error;

/// A manifest as it was received, and parsed once.
#[derive(Debug, Clone)]
pub struct ManifestContent {
    /// Media type, digest, length and links.
    pub manifest: Arc<Manifest>,
    /// The bytes that the digest is of.
    pub bytes: Bytes,
}

impl ManifestContent {
    /// What an upstream has sent for `reference`, as a `media_type` of its own telling. Its digest here is that of its bytes;
    /// a signed manifest of schema 1 is asked for by another one.
    ///
    /// # Errors
    /// [`Error::WrongContent`] for another digest than the reference's, and for what is no manifest.
    pub(crate) fn received(
        reference: &Reference,
        bytes: Bytes,
        media_type: Option<&str>,
    ) -> Result<Self, Error> {
        let digest = match reference {
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), &bytes);
                if actual != *expected && signed_digest(expected.algorithm(), &bytes) != Some(*expected) {
                    return Err(Error::wrong_content(format!("asked for {expected}, got {actual}")));
                }
                actual
            }
        };
        match Manifest::parse(digest, &bytes, media_type) {
            Ok(manifest) => Ok(Self { manifest: Arc::new(manifest), bytes }),
            Err(error) => Err(Error::wrong_content(error.to_string())),
        }
    }

    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.manifest.descriptor.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);

    fn tag() -> Reference {
        Reference::Tag("latest".parse().expect("a tag"))
    }

    #[test]
    fn a_tag_takes_whatever_manifest_comes() {
        let content = ManifestContent::received(&tag(), BYTES, None).expect("a manifest");
        assert_eq!(*content.digest(), Digest::of(Algorithm::Sha256, &BYTES));
        assert_eq!(content.bytes, BYTES);
    }

    #[test]
    fn a_digest_takes_its_own_bytes_alone() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let right = Reference::Digest(Digest::of(algorithm, &BYTES));
            let content = ManifestContent::received(&right, BYTES, None).expect("a manifest");
            assert_eq!(content.digest().algorithm(), algorithm);
            let wrong = Reference::Digest(Digest::of(algorithm, b"other"));
            let error = ManifestContent::received(&wrong, BYTES, None).expect_err("other bytes");
            assert!(matches!(error, Error::WrongContent { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_wrong_content() {
        let page = Bytes::from_static(b"<html>");
        let error = ManifestContent::received(&tag(), page, Some("text/html")).expect_err("a page");
        assert!(matches!(error, Error::WrongContent { .. }), "{error}");
    }
}
