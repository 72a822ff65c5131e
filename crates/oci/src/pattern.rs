//! Patterns of images, as an operator writes them in a configuration.

use std::fmt;
use std::str::FromStr;

use wildmatch::WildMatch;

use crate::{ParseError, Tag, Target};

/// A pattern of whole image names: `docker.io/library/*`, `ghcr.io/org/app:v*`. `*` stands for any characters, `/` and
/// `:` among them, and `?` for one. One without a tag is for all tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern(WildMatch);

impl Pattern {
    /// Whether an image is meant.
    pub fn matches(&self, target: &Target, tag: Option<&Tag>) -> bool {
        let name = target.to_string();
        self.0.matches(&name) || tag.is_some_and(|tag| self.0.matches(&format!("{name}:{tag}")))
    }
}

impl FromStr for Pattern {
    type Err = ParseError;

    /// A name without a registry would match nothing, silently; it is refused.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |why| Err(ParseError::new("pattern", text, why));
        let registry = text.split('/').next().unwrap_or_default();
        if text.len() > 512 || !text.bytes().all(|c| c.is_ascii_graphic()) {
            return bad("it is too long, or has characters that no image's name has");
        }
        if !(registry.contains(['.', ':', '*']) || registry == "localhost")
            || (!text.contains('/') && text != "*")
        {
            return bad("it is a whole name, as docker.io/library/alpine:3 or ghcr.io/org/*");
        }
        Ok(Self(WildMatch::new(text)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, repository: &str, tag: &str) -> bool {
        let (registry, repository) = repository.split_once('/').expect("registry/repository");
        let target = Target {
            registry: registry.parse().expect("a registry"),
            repository: repository.parse().expect("a repository"),
        };
        pattern.parse::<Pattern>().expect("a pattern").matches(&target, Some(&tag.parse().expect("a tag")))
    }

    #[test]
    fn a_pattern_is_for_whole_names_and_without_a_tag_for_all_of_them() {
        assert!(matches("docker.io/library/*", "docker.io/library/alpine", "3"));
        assert!(matches("docker.io/library/alpine", "docker.io/library/alpine", "3"));
        assert!(matches("ghcr.io/a/b:v*", "ghcr.io/a/b", "v1.2"));
        assert!(!matches("ghcr.io/a/b:v*", "ghcr.io/a/b", "latest"));
        assert!(!matches("docker.io/library/alp", "docker.io/library/alpine", "3"));
        for text in ["", "alpine", "library/alpine", "docker.io", "docker.io/\n", "docker.io/ä"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
