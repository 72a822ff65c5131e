//! References: the `<reference>` of a manifest, and image names as users type them.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, ParseError, Registry, Repository, Tag};

/// The specification's `<tag>` or `<digest>` of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// A content that cannot change.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ParseError;

    /// A ':' makes it a digest, since no tag has one.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains(':') { text.parse().map(Self::Digest) } else { text.parse().map(Self::Tag) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A repository at a registry: what a request means once it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Where it lives.
    pub registry: Registry,
    /// Its repository there.
    pub repository: Repository,
}

impl Target {
    /// A repository at a registry. Docker Hub's official images get the `library/` that not every client writes.
    pub fn new(registry: Registry, repository: Repository) -> Self {
        let repository = if registry.is_docker_hub() && !repository.as_str().contains('/') {
            // A name that is too long with it names nothing either way.
            format!("library/{repository}").parse().unwrap_or(repository)
        } else {
            repository
        };
        Self { registry, repository }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// An image as a user types it, filled up as Docker does:
/// `alpine` is `docker.io/library/alpine:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    /// Where it lives.
    pub registry: Registry,
    /// Its repository there.
    pub repository: Repository,
    /// Its tag or digest; with both given (`alpine:3@sha256:...`) the digest counts.
    pub reference: Reference,
}

impl ImageRef {
    /// Its repository.
    pub fn target(&self) -> Target {
        Target { registry: self.registry.clone(), repository: self.repository.clone() }
    }
}

impl FromStr for ImageRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A ':' after the last '/' begins the tag; one before it is a registry's port.
        let tag_at = name.rfind(':').filter(|&colon| !name[colon..].contains('/'));
        let (name, tag) = match tag_at {
            Some(colon) => (&name[..colon], Some(name[colon + 1..].parse::<Tag>()?)),
            None => (name, None),
        };
        // The first part is a registry when it looks like a host, as in Docker's own grammar.
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (Registry::DOCKER_HUB, name),
        };
        let registry: Registry = registry.parse()?;
        let repository =
            path.parse().map_err(|error: ParseError| ParseError::new("image", text, error.why))?;
        let Target { registry, repository } = Target::new(registry, repository);
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest),
            (None, Some(tag)) => Reference::Tag(tag),
            (None, None) => Reference::Tag("latest".parse()?),
        };
        Ok(Self { registry, repository, reference })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pattern, Platform};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_are_filled_up_as_docker_does() {
        let pinned = format!("alpine:3@{DIGEST}");
        let full = format!("docker.io/library/alpine@{DIGEST}");
        for (text, expected) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("coderus/sdk:4", "docker.io/coderus/sdk:4"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            (pinned.as_str(), full.as_str()),
        ] {
            let image: ImageRef = text.parse().expect(text);
            assert_eq!(image.to_string(), expected);
            assert_eq!(image.to_string().parse::<ImageRef>().as_ref(), Ok(&image));
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for text in ["", ":", "a:", "Alpine", "a@b", "a b", "https://docker.io/a", "ghcr.io/"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text: String) {
            let _ = text.parse::<ImageRef>();
            let _ = text.parse::<Reference>();
            let _ = text.parse::<Pattern>();
        }

        #[test]
        fn what_is_understood_is_written_as_it_was(text in "[a-zA-Z0-9._:/@-]{0,48}") {
            let written = [
                text.parse::<Repository>().map(|one| one.to_string()),
                text.parse::<Tag>().map(|one| one.to_string()),
                text.parse::<Platform>().map(|one| one.to_string()),
                text.parse::<Reference>().map(|one| one.to_string()),
            ];
            for written in written.into_iter().flatten() {
                proptest::prop_assert_eq!(&written, &text);
            }
            if let Ok(image) = text.parse::<ImageRef>() {
                proptest::prop_assert_eq!(image.to_string().parse::<ImageRef>(), Ok(image));
            }
        }
    }
}
