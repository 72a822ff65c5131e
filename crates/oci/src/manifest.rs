//! Manifests: the bytes as received, and the links in them.

use serde::Deserialize;

use crate::{Descriptor, Digest, ParseError, descriptor::media_type};

/// A manifest or an index. The bytes are what its digest names, so they are never written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Media type, digest and length.
    pub descriptor: Descriptor,
    /// What the manifest points at.
    pub links: Links,
}

/// What a manifest points at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// An image's configuration and layers, in that order.
    pub blobs: Vec<Descriptor>,
    /// An index's manifests.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to; it need not exist.
    pub subject: Option<Digest>,
    /// What an artifact is: `artifactType`, or else the configuration's media type.
    pub artifact_type: Option<String>,
}

/// Only what is read; the rest of a manifest is nobody's business here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

impl Manifest {
    /// The largest manifest that is taken: 4 MiB, what the specification asks registries to accept.
    pub const MAX_SIZE: usize = 4 << 20;

    /// Reads a manifest whose digest has been verified.
    ///
    /// `content_type` is what the upstream said; without it the `mediaType` inside counts, and without that
    /// the form: an index has `manifests`. Schema 1 and what is not JSON is an error.
    pub fn parse(digest: Digest, bytes: &[u8], content_type: Option<&str>) -> Result<Self, ParseError> {
        let bad = |why| ParseError::new("manifest", &digest.to_string(), why);
        let parsed: Parsed = serde_json::from_slice(bytes).map_err(|_| bad("it is not a JSON manifest"))?;
        let media_type = content_type
            .map(|text| text.split(';').next().unwrap_or_default().trim().to_owned())
            .filter(|text| media_type::is_manifest(text))
            .or_else(|| parsed.media_type.clone())
            .unwrap_or_else(|| {
                if parsed.config.is_none() && !parsed.manifests.is_empty() {
                    media_type::OCI_INDEX.into()
                } else {
                    media_type::OCI_MANIFEST.into()
                }
            });
        if !media_type::is_manifest(&media_type) {
            return Err(bad("its media type is none that hubcap stores"));
        }
        let artifact_type =
            parsed.artifact_type.or_else(|| parsed.config.as_ref().map(|config| config.media_type.clone()));
        Ok(Self {
            descriptor: Descriptor::new(media_type, digest, bytes.len() as u64),
            links: Links {
                blobs: parsed.config.into_iter().chain(parsed.layers).collect(),
                manifests: parsed.manifests,
                subject: parsed.subject.map(|subject| subject.digest),
                artifact_type,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, ParseError> {
        Manifest::parse(Digest::of(Algorithm::Sha256, bytes), bytes, content_type)
    }

    #[test]
    fn an_index_without_a_media_type_is_known_by_its_form() {
        let empty = Digest::of(Algorithm::Sha256, b"");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{empty}","size":0}}]}}"#,
            media_type::OCI_MANIFEST
        );
        let manifest = parse(text.as_bytes(), None).expect("an index");
        assert_eq!(manifest.descriptor.media_type, media_type::OCI_INDEX);
        assert_eq!(manifest.links.manifests[0].digest, empty);
    }

    #[test]
    fn the_upstreams_content_type_wins_and_its_parameters_are_dropped() {
        let typed = format!("{}; charset=utf-8", media_type::DOCKER_LIST);
        let manifest = parse(br#"{"schemaVersion":2,"manifests":[]}"#, Some(&typed)).expect("a list");
        assert_eq!(manifest.descriptor.media_type, media_type::DOCKER_LIST);
    }

    #[test]
    fn schema_1_and_rubbish_are_refused() {
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        let schema_1 = format!(r#"{{"schemaVersion":1,"mediaType":"{signed}","layers":[]}}"#);
        assert!(parse(schema_1.as_bytes(), Some(signed)).is_err());
        assert!(parse(b"<html>", Some("text/html")).is_err());
        assert!(parse(b"", None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, None);
        }
    }
}
