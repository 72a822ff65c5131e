//! What a manifest points at. It says more of a content than is read here. Its length is what the registry sends and the
//! digest confirms: what a manifest says of it is a hint.

use serde_json::value::RawValue;

use crate::json::{self, Object};
use crate::{Descriptor, Digest, Platform};

/// Links of one kind that are taken of a manifest, so that its memory has a bound: what is beyond is served all the same.
const MAX_LINKS: usize = 2000;

/// The longest URL that is taken, in bytes.
const MAX_URL: usize = 2048;

/// What a manifest says of a content that it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The content's name.
    pub digest: Digest,
    /// Its media type; empty where the manifest does not say it.
    pub media_type: String,
    /// The length in bytes that the manifest says. It may be anything.
    pub size: Option<u64>,
    /// For an index's manifests: what they run on.
    pub platform: Option<Platform>,
    /// Where it is to be had, for a content that its registry need not have.
    pub url: Option<String>,
    /// For an index's manifests: the manifest that this one describes, as BuildKit's attestations do.
    pub refers_to: Option<Digest>,
}

/// What a manifest points at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// An image's configuration.
    pub config: Option<Link>,
    /// An image's layers, an artifact's files.
    pub layers: Vec<Link>,
    /// An index's manifests.
    pub manifests: Vec<Link>,
    /// The manifest that this one refers to; it need not exist.
    pub subject: Option<Digest>,
    /// What an artifact is: `artifactType`, or else the configuration's media type.
    pub artifact_type: Option<String>,
}

const FIELDS: &[&str] = &["digest", "mediaType", "size", "platform", "urls", "annotations"];

/// The annotations by which an index says that one of its manifests describes another: BuildKit's, with a type, and
/// containerd's.
const DOCKER_TYPE: &str = "vnd.docker.reference.type";
const DOCKER_DIGEST: &str = "vnd.docker.reference.digest";
const CONTAINERD_SUBJECT: &str = "io.containerd.manifest.subject";

impl Link {
    /// Reads a descriptor. One whose digest is none that hubcap knows cannot be used.
    fn read(descriptor: &Object<'_>) -> Option<Self> {
        let platform = descriptor.object("platform", Platform::FIELDS);
        let annotations = descriptor.object("annotations", &[DOCKER_TYPE, DOCKER_DIGEST, CONTAINERD_SUBJECT]);
        Some(Self {
            digest: descriptor.text("digest")?.parse().ok()?,
            media_type: descriptor.text("mediaType").unwrap_or_default(),
            size: descriptor.number("size"),
            platform: platform.and_then(|platform| Platform::read(&platform)),
            url: descriptor.array("urls", 1).first().copied().and_then(url_of),
            refers_to: annotations.and_then(|annotations| refers_to(&annotations)),
        })
    }

    /// Whether its registry need not have it: a foreign layer, which clients fetch from its URL.
    pub fn is_foreign(&self) -> bool {
        self.url.is_some()
            || self.media_type.contains(".foreign.")
            || self.media_type.contains(".nondistributable.")
    }
}

impl From<&Descriptor> for Link {
    fn from(Descriptor { media_type, digest, size, platform, .. }: &Descriptor) -> Self {
        Self {
            digest: *digest,
            media_type: media_type.clone(),
            size: Some(*size),
            platform: platform.clone(),
            url: None,
            refers_to: None,
        }
    }
}

impl Links {
    pub(super) fn of(document: &Object<'_>) -> Self {
        let config = document.object("config", FIELDS);
        let config_type = config.as_ref().and_then(|config| config.text("mediaType"));
        let mut layers = list(document, "layers");
        layers.extend(list(document, "blobs"));
        layers.extend(schema_1_layers(document));
        let subject = document.object("subject", FIELDS);
        Self {
            config: config.and_then(|config| Link::read(&config)),
            layers,
            manifests: list(document, "manifests"),
            subject: subject.and_then(|subject| subject.text("digest")?.parse().ok()),
            artifact_type: document.text("artifactType").or(config_type),
        }
    }

    /// The manifests, the configuration and the layers.
    pub fn contents(&self) -> impl Iterator<Item = &Link> {
        self.manifests.iter().chain(self.blobs())
    }

    /// The configuration and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Link> {
        self.config.iter().chain(&self.layers)
    }
}

fn list(document: &Object<'_>, name: &str) -> Vec<Link> {
    let read = |value: &RawValue| Link::read(&Object::read(value.get(), FIELDS)?);
    document.array(name, MAX_LINKS).into_iter().filter_map(read).collect()
}

/// The layers of a manifest of schema 1, which have no media type.
fn schema_1_layers(document: &Object<'_>) -> Vec<Link> {
    let read = |value: &RawValue| {
        let digest = Object::read(value.get(), &["blobSum"])?.text("blobSum")?.parse().ok()?;
        Some(Link {
            digest,
            media_type: String::new(),
            size: None,
            platform: None,
            url: None,
            refers_to: None,
        })
    };
    document.array("fsLayers", MAX_LINKS).into_iter().filter_map(read).collect()
}

/// The manifest that an index's annotations of another one name.
fn refers_to(annotations: &Object<'_>) -> Option<Digest> {
    let is_attestation = annotations.text(DOCKER_TYPE).as_deref() == Some("attestation-manifest");
    let attested = annotations.text(DOCKER_DIGEST).filter(|_| is_attestation);
    attested.or_else(|| annotations.text(CONTAINERD_SUBJECT))?.parse().ok()
}

/// A URL as it can be shown: printable, not too long, and no command to GitHub's runner, which takes `##[` anywhere in a line.
fn url_of(value: &RawValue) -> Option<String> {
    let url = json::text(value)?;
    let is_shown = url.bytes().all(|c| c.is_ascii_graphic()) && !url.contains("##[");
    (!url.is_empty() && url.len() <= MAX_URL && is_shown).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Manifest, media_type};

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn links(text: &str) -> Links {
        Manifest::parse(digest(0), text.as_bytes(), Some("application/vnd.test+json")).expect(text).links
    }

    fn layers(descriptors: &str) -> Vec<Link> {
        links(&format!(r#"{{"layers":[{descriptors}]}}"#)).layers
    }

    #[test]
    fn a_descriptor_needs_nothing_but_a_digest() {
        let one = digest(1);
        for more in [
            "",
            r#","size":-1"#,
            r#","size":1e15,"mediaType":null"#,
            r#","size":"7","annotations":null"#,
            r#","platform":{"os":"linux"}"#,
            r#","platform":[],"urls":{}"#,
            r#","MEDIATYPE":"","urls":null,"data":7"#,
        ] {
            let expected = Link {
                digest: one,
                media_type: String::new(),
                size: None,
                platform: None,
                url: None,
                refers_to: None,
            };
            assert_eq!(layers(&format!(r#"{{"digest":"{one}"{more}}}"#)), [expected], "{more}");
        }
    }

    #[test]
    fn a_descriptor_that_cannot_be_used_is_no_link() {
        let (one, upper) = (digest(1), digest(1).to_string().to_uppercase());
        let text = format!(
            r#"null,7,[],"x",{{}},{{"digest":null}},{{"digest":"blake3:00"}},{{"digest":"{upper}"}},{{"digest":"{one}"}}"#
        );
        assert_eq!(layers(&text).iter().map(|link| link.digest).collect::<Vec<_>>(), [one]);
        for text in [r#"{"layers":null,"manifests":7,"config":[]}"#, r#"{"subject":"x","artifactType":[]}"#] {
            assert_eq!(links(text), Links::default(), "{text}");
        }
    }

    #[test]
    fn every_kind_of_manifest_has_its_links() {
        let (one, two) = (digest(1), digest(2));
        let schema_1 = links(&format!(r#"{{"fsLayers":[{{"blobSum":"{one}"}},{{"blobSum":"{two}"}}]}}"#));
        assert_eq!(schema_1.layers.iter().map(|link| link.digest).collect::<Vec<_>>(), [one, two]);
        let artifact = format!(
            r#"{{"artifactType":"a/b","blobs":[{{"digest":"{one}"}}],"subject":{{"digest":"{two}"}}}}"#
        );
        let artifact = links(&artifact);
        assert_eq!((artifact.layers.len(), artifact.subject), (1, Some(two)));
        assert_eq!(artifact.artifact_type.as_deref(), Some("a/b"));
        // A configuration that is no link still says what the artifact is.
        let chart =
            links(r#"{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"},"layers":[]}"#);
        assert_eq!(chart.artifact_type.as_deref(), Some("application/vnd.cncf.helm.config.v1+json"));
        assert_eq!(chart.config, None);
    }

    #[test]
    fn foreign_layers_are_known_by_their_urls_and_their_media_types() {
        let one = digest(1);
        for more in [
            r#""urls":["https://example.com/layer"]"#,
            r#""mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip""#,
            r#""mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd""#,
        ] {
            assert!(layers(&format!(r#"{{"digest":"{one}",{more}}}"#))[0].is_foreign(), "{more}");
        }
        for url in [r"\u001b[31m", "https://example.com/##[add-matcher]x"] {
            let own = format!(
                r#"{{"digest":"{one}","urls":["{url}"],"mediaType":"{}"}}"#,
                media_type::OCI_MANIFEST
            );
            assert!(!layers(&own)[0].is_foreign(), "{url}");
        }
    }

    #[test]
    fn an_index_says_which_of_its_manifests_describe_others() {
        let (one, two) = (digest(1), digest(2));
        let refers_to = |annotations: &str| {
            let text = format!(r#"{{"manifests":[{{"digest":"{one}","annotations":{annotations}}}]}}"#);
            links(&text).manifests[0].refers_to
        };
        for annotations in [
            format!(r#"{{"{DOCKER_TYPE}":"attestation-manifest","{DOCKER_DIGEST}":"{two}"}}"#),
            format!(r#"{{"{CONTAINERD_SUBJECT}":"{two}","x":1}}"#),
        ] {
            assert_eq!(refers_to(&annotations), Some(two), "{annotations}");
        }
        for annotations in [
            "null".to_owned(),
            "[]".into(),
            "{}".into(),
            format!(r#"{{"{DOCKER_DIGEST}":"{two}"}}"#),
            format!(r#"{{"{DOCKER_TYPE}":"other","{DOCKER_DIGEST}":"{two}"}}"#),
            format!(r#"{{"{DOCKER_TYPE}":"attestation-manifest","{DOCKER_DIGEST}":"md5:00"}}"#),
            format!(r#"{{"{DOCKER_TYPE}":"attestation-manifest","{DOCKER_DIGEST}":7}}"#),
        ] {
            assert_eq!(refers_to(&annotations), None, "{annotations}");
        }
    }

    #[test]
    fn there_are_no_more_links_than_memory_is_for() {
        let one = digest(1);
        let many = vec![format!(r#"{{"digest":"{one}"}}"#); MAX_LINKS + 1].join(",");
        assert_eq!(layers(&many).len(), MAX_LINKS);
    }
}
