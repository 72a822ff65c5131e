//! Entries of a list of referrers (end-12).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Descriptor;

/// A manifest that refers to another one, as a list of referrers describes it. It is carried as it came: clients may know
/// more of it than hubcap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Referrer(Map<String, Value>);

impl Referrer {
    /// What the manifest is, by which lists are filtered.
    pub fn artifact_type(&self) -> Option<&str> {
        self.0.get("artifactType")?.as_str()
    }

    /// Whether a filter of these types lets it pass. One without a type lets everything pass.
    pub fn is_of(&self, artifact_types: &[String]) -> bool {
        let own = self.artifact_type();
        artifact_types.is_empty() || artifact_types.iter().any(|wanted| own == Some(wanted))
    }
}

impl From<&Descriptor> for Referrer {
    fn from(descriptor: &Descriptor) -> Self {
        match serde_json::to_value(descriptor) {
            Ok(Value::Object(members)) => Self(members),
            // A descriptor is always an object.
            _ => Self(Map::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Digest};

    #[test]
    fn what_is_not_known_is_written_as_it_was_read() {
        let text = r#"{"artifactType":"a/b","data":"e30=","digest":"md5:00","size":-1,"x":{"y":[null]}}"#;
        let referrer: Referrer = serde_json::from_str(text).expect("an object");
        assert_eq!(referrer.artifact_type(), Some("a/b"));
        assert_eq!(serde_json::to_string(&referrer).expect("JSON"), text);
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
        let written = serde_json::to_value(Referrer::from(&descriptor)).expect("JSON");
        assert_eq!(written, serde_json::to_value(&descriptor).expect("JSON"));
    }
}
