//! Lists of referrers (end-12), and their entries.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::json::Object;
use crate::{Descriptor, Digest, Tag, media_type};

/// Cosign's and Sigstore's signatures, by which dockerd 29 and BuildKit verify attestations.
const SIGNATURES: [&str; 2] =
    ["application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"];

/// Entries that are taken of one index, so that its memory has a bound.
const MAX_ENTRIES: usize = 10_000;

/// A manifest that refers to another one, as a list of referrers describes it. It is carried as it came, to the byte:
/// clients may know more of it than hubcap.
#[derive(Debug, Clone)]
pub struct Referrer {
    text: Box<RawValue>,
    artifact_type: Option<String>,
}

impl Referrer {
    /// The entries of an index; `None` for what is no index. What is no object is no entry.
    pub fn read_index(bytes: &[u8]) -> Option<Vec<Self>> {
        let text = String::from_utf8_lossy(bytes);
        let index = Object::read(&text, &["manifests", "schemaVersion"])?;
        let is_list = |value: &RawValue| value.get() == "null" || value.get().starts_with('[');
        let is_index = index.value("manifests").map_or_else(|| index.has("schemaVersion"), is_list);
        is_index.then(|| index.array("manifests", MAX_ENTRIES).into_iter().filter_map(Self::read).collect())
    }

    /// What the manifest is, by which lists are filtered.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The manifest; `None` where the entry names none that hubcap knows.
    pub fn digest(&self) -> Option<Digest> {
        Object::read(self.text.get(), &["digest"])?.text("digest")?.parse().ok()
    }

    /// Whether it is a signature of the kinds that dockerd takes with an attestation.
    pub fn is_signature(&self) -> bool {
        self.artifact_type().is_some_and(|own| SIGNATURES.contains(&own))
    }

    /// Whether a filter of these types lets it pass. One without a type lets everything pass.
    pub fn is_of(&self, artifact_types: &[String]) -> bool {
        let own = self.artifact_type();
        artifact_types.is_empty() || artifact_types.iter().any(|wanted| own == Some(wanted))
    }

    fn read(entry: &RawValue) -> Option<Self> {
        let artifact_type = Object::read(entry.get(), &["artifactType"])?.text("artifactType");
        Some(Self { text: entry.to_owned(), artifact_type })
    }
}

/// Two are the same if they are written the same.
impl PartialEq for Referrer {
    fn eq(&self, other: &Self) -> bool {
        self.text.get() == other.text.get()
    }
}

impl Serialize for Referrer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Referrer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("a referrer is an object"))
    }
}

/// The tag under which a registry without the endpoint has the list of a manifest's referrers
/// (distribution-spec, "Referrers Tag Schema").
pub fn tag_of(subject: &Digest) -> Option<Tag> {
    let mut hash = subject.hex();
    hash.truncate(64);
    format!("{}-{hash}", subject.algorithm().name()).parse().ok()
}

/// Whether a tag may be that of a list of referrers.
pub fn is_tag_of_a_subject(tag: &Tag) -> bool {
    tag.as_str().split_once('-').is_some_and(|(algorithm, hash)| {
        hash.len() == 64
            && ["sha256", "sha512"].contains(&algorithm)
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A list of referrers as a registry answers with it: an image index.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: &'a [Referrer],
}

/// Writes a list of referrers. The same entries have the same bytes.
pub fn write_list(referrers: &[Referrer]) -> String {
    let list = List { schema_version: 2, media_type: media_type::OCI_INDEX, manifests: referrers };
    // JSON values can always be written.
    serde_json::to_string(&list).unwrap_or_default()
}

impl From<&Descriptor> for Referrer {
    fn from(descriptor: &Descriptor) -> Self {
        // A descriptor is always an object.
        let text = to_raw_value(descriptor).unwrap_or_default();
        Self { text, artifact_type: descriptor.artifact_type.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn entries(text: &str) -> Option<Vec<Referrer>> {
        Referrer::read_index(text.as_bytes())
    }

    #[test]
    fn an_entry_is_written_as_it_was_read() {
        let text = r#"{"artifactType":"a/b","x":"\ud800","artifacttype":"c/d","size":1e3, "y":[null]}"#;
        let found = entries(&format!("{{\"manifests\":[{text}]}}")).expect("an index");
        assert_eq!(found[0].artifact_type(), Some("c/d"), "as Go reads it");
        assert_eq!(serde_json::to_string(&found).expect("JSON"), format!("[{text}]"));
    }

    #[test]
    fn an_odd_entry_costs_the_others_nothing() {
        let text =
            r#"{"x":"\udfff","manifests":[{"digest":"md4:00","size":-1},null,7,{"artifactType":"a/b"}]}"#;
        let found = entries(text).expect("an index");
        let types: Vec<_> = found.iter().map(Referrer::artifact_type).collect();
        assert_eq!(types, [None, Some("a/b")]);
    }

    #[test]
    fn an_index_may_say_that_it_has_none_in_any_way() {
        for text in [r#"{"manifests":[]}"#, r#"{"manifests":null}"#, r#"{"schemaVersion":2}"#] {
            assert_eq!(entries(text).map(|found| found.len()), Some(0), "{text}");
        }
    }

    #[test]
    fn what_is_no_index_has_no_entries() {
        for text in ["", "<html>", "[]", r#"{"errors":[]}"#, r#"{"manifests":"a"}"#] {
            assert!(entries(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let one: Referrer = serde_json::from_str(r#"{"digest":"md5:00","x":[1]}"#).expect("an object");
        for list in [vec![], vec![one.clone(), one]] {
            assert_eq!(entries(&write_list(&list)), Some(list));
        }
    }

    #[test]
    fn the_tag_of_a_list_has_at_most_64_letters_of_the_hash() {
        for (algorithm, name) in Algorithm::ALL.map(|algorithm| (algorithm, algorithm.name())) {
            let digest = Digest::of(algorithm, b"");
            let expected = format!("{name}-{}", &digest.hex()[..64]);
            assert_eq!(tag_of(&digest).map(|tag| tag.to_string()), Some(expected));
        }
    }

    #[test]
    fn a_filter_passes_what_is_of_any_of_its_types() {
        let of = |own: &str, wanted: &[&str]| {
            let referrer: Referrer = serde_json::from_str(own).expect("an object");
            referrer.is_of(&wanted.iter().map(|&one| one.into()).collect::<Vec<_>>())
        };
        let own = r#"{"artifactType":"a/b"}"#;
        assert!(of(own, &[]) && of(own, &["a/b"]) && of(own, &["c/d", "a/b"]));
        assert!(!of(own, &["c/d"]) && !of("{}", &["c/d"]) && of("{}", &[]));
    }

    #[test]
    fn a_descriptor_is_one() {
        let mut descriptor = Descriptor::new("c/d", Digest::of(Algorithm::Sha256, b""), 0);
        assert_eq!(Referrer::from(&descriptor).artifact_type(), None);
        descriptor.artifact_type = Some("a/b".into());
        let referrer = Referrer::from(&descriptor);
        assert_eq!(referrer.artifact_type(), Some("a/b"));
        let written = serde_json::to_value(referrer).expect("JSON");
        assert_eq!(written, serde_json::to_value(&descriptor).expect("JSON"));
    }
}
