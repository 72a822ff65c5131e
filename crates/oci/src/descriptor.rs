//! Descriptors and media types (image-spec, descriptor.md and image-index.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

/// The media types that hubcap tells apart.
pub mod media_type {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, version 2 schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    /// Docker's first manifest, schema 1. It is signed in nearly every case, and then it is called otherwise.
    pub const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker's first manifest, signed.
    pub const DOCKER_SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// A manifest of an artifact, as OCI had it before 1.1. Registries have some.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

    /// What hubcap asks an upstream for, as containerd does: whatever it has.
    pub const ACCEPTED: [&str; 8] = [
        OCI_INDEX,
        OCI_MANIFEST,
        DOCKER_LIST,
        DOCKER_MANIFEST,
        OCI_ARTIFACT,
        DOCKER_SCHEMA_1_SIGNED,
        DOCKER_SCHEMA_1,
        "*/*",
    ];

    /// What a media type means, as far as it matters here.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind {
        /// An image's manifest, of either family.
        Image,
        /// An index, of either family.
        Index,
        /// Docker's first manifest, signed or not.
        Schema1,
        /// Some other manifest: an artifact's, or one of which nobody has told hubcap.
        Other,
    }

    /// What kind of manifest a media type means; `None` for one that says nothing of manifests, as `text/plain`.
    pub fn kind(media_type: &str) -> Option<Kind> {
        match media_type.to_ascii_lowercase().as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Image),
            OCI_INDEX | DOCKER_LIST => Some(Kind::Index),
            DOCKER_SCHEMA_1 | DOCKER_SCHEMA_1_SIGNED => Some(Kind::Schema1),
            other => (other.starts_with("application/vnd.") && is_name(other)).then_some(Kind::Other),
        }
    }

    /// Whether it is written as a media type is (RFC 6838, section 4.2).
    fn is_name(media_type: &str) -> bool {
        media_type.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&byte))
    }
}

/// What hubcap says of a content: the entries of `index.json`, and of a list of referrers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The content's media type.
    pub media_type: String,
    /// The content's name.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
    /// For an index's manifests: what they run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact's manifest is, in a referrers list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free annotations; the layout's `index.json` keeps the image's name in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}
