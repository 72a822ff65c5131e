//! Manifests: the bytes as received, and what can be used of the links in them.

mod link;
mod schema_1;

use crate::json::Object;
use crate::media_type::{self, Kind};
use crate::{Descriptor, Digest, ParseError};

pub use link::{Link, Links};
pub use schema_1::signed_digest;

/// A manifest or an index. The bytes are what its digest names, so they are never written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Media type, digest and length.
    pub descriptor: Descriptor,
    /// What the manifest points at.
    pub links: Links,
}

/// Only what is read; the rest of a manifest is nobody's business here.
const FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "fsLayers",
    "signatures",
    "subject",
];

impl Manifest {
    /// The largest manifest that is taken. containerd and podman take 4 MiB, dockerd takes what comes; this is what hubcap
    /// can have in memory.
    pub const MAX_SIZE: usize = 16 << 20;

    /// Reads a manifest whose digest has been verified.
    ///
    /// `content_type` is what the registry said. Where that says nothing of manifests (it is missing, or `text/plain`), the
    /// `mediaType` inside counts, and without that the form: an index has `manifests`. What is wrong inside is no reason to
    /// refuse a document: a link that cannot be used is none.
    ///
    /// # Errors
    /// For what is no JSON object, what does not look like a manifest, and what containerd, dockerd and podman refuse as
    /// ambiguous.
    pub fn parse(digest: Digest, bytes: &[u8], content_type: Option<&str>) -> Result<Self, ParseError> {
        Self::read(digest, bytes, |document| {
            told(content_type).or_else(|| own(document)).or_else(|| form(document).map(Into::into))
        })
    }

    /// The same where not the registry said the media type, but what names the manifest, which others may have written: what the
    /// manifest says itself counts before that.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_named(digest: Digest, bytes: &[u8], named: &str) -> Result<Self, ParseError> {
        Self::read(digest, bytes, |document| {
            own(document).or_else(|| told(Some(named))).or_else(|| form(document).map(Into::into))
        })
    }

    fn read(
        digest: Digest,
        bytes: &[u8],
        media_type: impl FnOnce(&Object<'_>) -> Option<String>,
    ) -> Result<Self, ParseError> {
        let bad = |why| ParseError::new("manifest", &digest.to_string(), why);
        let text = String::from_utf8_lossy(bytes);
        let document = Object::read(&text, FIELDS).ok_or_else(|| bad("it is no JSON object"))?;
        let media_type = media_type(&document)
            .ok_or_else(|| bad("neither its media type nor its fields are a manifest's"))?;
        if let Some(why) = ambiguity(&document, &media_type) {
            return Err(bad(why));
        }
        let links = Links::of(&document);
        Ok(Self { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), links })
    }

    /// Whether a platform chooses one of its manifests.
    pub fn is_index(&self) -> bool {
        media_type::kind(&self.descriptor.media_type) == Some(Kind::Index) || !self.links.manifests.is_empty()
    }
}

/// The media type that somebody said, where it means a manifest.
fn told(media_type: Option<&str>) -> Option<String> {
    let text = media_type?.split(';').next().unwrap_or_default().trim();
    media_type::kind(text).map(|_| text.to_owned())
}

/// The media type that the document says, where it means a manifest.
fn own(document: &Object<'_>) -> Option<String> {
    document.text("mediaType").filter(|text| media_type::kind(text).is_some())
}

/// The media type of a document that does not say it, by the fields that it has, as dockerd guesses. A field that is not of its
/// type is none: JSON that tells somebody to log in has fields, too.
fn form(document: &Object<'_>) -> Option<&'static str> {
    let begins = |name, with| document.value(name).is_some_and(|value| value.get().starts_with(with));
    let (is_object, is_list) = (|name| begins(name, '{'), |name| begins(name, '['));
    Some(match () {
        () if is_list("manifests") => media_type::OCI_INDEX,
        () if is_object("config") || is_list("layers") => media_type::OCI_MANIFEST,
        () if is_list("fsLayers") && is_list("signatures") => media_type::DOCKER_SCHEMA_1_SIGNED,
        () if is_list("fsLayers") => media_type::DOCKER_SCHEMA_1,
        () if is_list("blobs") || document.text("artifactType").is_some() => media_type::OCI_ARTIFACT,
        () if document.number("schemaVersion").is_some() => media_type::OCI_INDEX,
        () => return None,
    })
}

/// Why the document means one thing to one client and another to the next, if so (CVE-2021-41190). What is null is not
/// there: skopeo and dockerd take that.
fn ambiguity(document: &Object<'_>, media_type: &str) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().any(|name| document.has(name));
    let own = document.text("mediaType").and_then(|own| media_type::kind(&own));
    // Who does not know the registry's word for it goes by the document's own.
    let kind = match media_type::kind(media_type)? {
        Kind::Other => own.unwrap_or(Kind::Other),
        known => known,
    };
    match kind {
        Kind::Image if has(&["manifests"]) || own == Some(Kind::Index) => Some(
            "it is ambiguous, as containerd finds too (CVE-2021-41190): an image's manifest that is an index as well",
        ),
        Kind::Index if has(&["config", "layers"]) || own == Some(Kind::Image) => Some(
            "it is ambiguous, as containerd finds too (CVE-2021-41190): an index that is an image's manifest as well",
        ),
        Kind::Image | Kind::Index if has(&["fsLayers"]) => Some(
            "it is ambiguous, as containerd finds too (CVE-2021-41190): a manifest of schema 1 and of schema 2",
        ),
        Kind::Schema1 if has(&["config", "layers", "manifests"]) => Some(
            "it is ambiguous, as containerd finds too (CVE-2021-41190): a manifest of schema 1 and of schema 2",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn parse(text: &str, content_type: Option<&str>) -> Result<Manifest, ParseError> {
        Manifest::parse(Digest::of(Algorithm::Sha256, text.as_bytes()), text.as_bytes(), content_type)
    }

    fn media_type(text: &str, content_type: Option<&str>) -> String {
        parse(text, content_type).expect(text).descriptor.media_type
    }

    #[test]
    fn the_registrys_media_type_counts_where_it_means_a_manifest() {
        let list = r#"{"schemaVersion":2,"manifests":[]}"#;
        for told in [
            media_type::DOCKER_LIST,
            "application/vnd.acme.thing.v1+json",
            "Application/vnd.OCI.Image.Index.V1+json",
        ] {
            assert_eq!(media_type(list, Some(told)), told);
            assert_eq!(media_type(list, Some(&format!("{told} ; charset=utf-8"))), told);
        }
    }

    #[test]
    fn a_media_type_that_says_nothing_gives_way_to_the_document() {
        let docker = format!(r#"{{"mediaType":"{}","config":{{}}}}"#, media_type::DOCKER_MANIFEST);
        for told in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/json"),
            Some("application/octet-stream"),
            Some("application/vnd.a\n::b"),
        ] {
            assert_eq!(media_type(&docker, told), media_type::DOCKER_MANIFEST);
            for (text, form) in [
                (r#"{"manifests":[]}"#, media_type::OCI_INDEX),
                (r#"{"schemaVersion":2}"#, media_type::OCI_INDEX),
                (r#"{"mediaType":"a/b","layers":[]}"#, media_type::OCI_MANIFEST),
                (r#"{"config":{},"manifests":null}"#, media_type::OCI_MANIFEST),
                (r#"{"fsLayers":[],"signatures":[{}]}"#, media_type::DOCKER_SCHEMA_1_SIGNED),
                (r#"{"fsLayers":[]}"#, media_type::DOCKER_SCHEMA_1),
                (r#"{"blobs":[]}"#, media_type::OCI_ARTIFACT),
            ] {
                assert_eq!(media_type(text, told), form, "{text}");
            }
        }
    }

    #[test]
    fn what_a_manifest_says_itself_counts_before_what_names_it() {
        let named = |text: &str| {
            let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
            let read = Manifest::parse_named(digest, text.as_bytes(), media_type::DOCKER_MANIFEST);
            read.expect(text).descriptor.media_type
        };
        let own = format!(r#"{{"mediaType":"{}","config":{{}}}}"#, media_type::OCI_MANIFEST);
        assert_eq!(named(&own), media_type::OCI_MANIFEST);
        assert_eq!(named(r#"{"config":{}}"#), media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn what_no_client_can_read_is_refused() {
        assert!(parse("<html>", Some("text/html")).is_err());
        assert!(parse("", Some(media_type::OCI_MANIFEST)).is_err());
        assert!(parse(r#"{"layers":["#, Some(media_type::OCI_MANIFEST)).is_err());
        for page in [
            r#"{"errors":[{"code":"UNKNOWN"}]}"#,
            r#"{"config":"login required","layers":{"url":"/login"},"manifests":"none","blobs":1}"#,
            r#"{"schemaVersion":"login required","fsLayers":{},"artifactType":{}}"#,
        ] {
            assert!(parse(page, Some("application/json")).is_err(), "{page}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused_with_the_reason() {
        let (image, index) = (media_type::OCI_MANIFEST, media_type::DOCKER_LIST);
        for (text, told) in [
            (r#"{"config":{},"manifests":[]}"#.to_owned(), None),
            (r#"{"layers":[],"Manifests":[]}"#.to_owned(), Some(image)),
            (r#"{"manifests":[],"manifests":[],"config":{}}"#.to_owned(), Some(index)),
            (format!(r#"{{"mediaType":"{index}"}}"#), Some(image)),
            (format!(r#"{{"mediaType":"{image}"}}"#), Some(index)),
            (r#"{"fsLayers":[],"layers":[]}"#.to_owned(), Some(image)),
            (r#"{"fsLayers":[],"config":{}}"#.to_owned(), Some(media_type::DOCKER_SCHEMA_1)),
            (
                format!(r#"{{"mediaType":"{image}","config":{{}},"manifests":[]}}"#),
                Some("application/vnd.acme.thing.v1+json"),
            ),
        ] {
            let error = parse(&text, told).expect_err(&text).to_string();
            assert!(error.contains("CVE-2021-41190"), "{error}");
        }
    }

    #[test]
    fn nothing_is_less_ambiguous_for_being_repeated() {
        let text = format!(r#"{{"manifests":[],{}"layers":[]}}"#, r#""config":{},"#.repeat(1000));
        let error = parse(&text, Some(media_type::OCI_MANIFEST)).expect_err("ambiguous").to_string();
        assert!(error.contains("CVE-2021-41190"), "{error}");
    }

    #[test]
    fn what_is_null_makes_nothing_ambiguous() {
        for (text, told) in [
            (r#"{"config":{},"layers":null,"manifests":null}"#, media_type::OCI_MANIFEST),
            (r#"{"manifests":null,"config":null,"layers":null}"#, media_type::OCI_INDEX),
            (r#"{"manifests":[],"config":{},"config":null}"#, media_type::OCI_INDEX),
        ] {
            assert_eq!(media_type(text, Some(told)), told);
        }
        // One family's type for the other's document is no ambiguity.
        let docker = format!(r#"{{"mediaType":"{}","config":{{}}}}"#, media_type::DOCKER_MANIFEST);
        assert_eq!(media_type(&docker, Some(media_type::OCI_MANIFEST)), media_type::OCI_MANIFEST);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None);
        }
    }
}
