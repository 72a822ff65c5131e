//! A client's version, and what it does since which one.

use std::fmt;

/// A version, as far as a client's habits depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 28 of 28.0.4.
    pub major: u32,
    /// 0 of 28.0.4.
    pub minor: u32,
    /// 4 of 28.0.4.
    pub patch: u32,
}

impl Version {
    /// The first release of a version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// A later release of it.
    pub const fn patch(self, patch: u32) -> Self {
        Self { patch, ..self }
    }

    /// Reads `28.0.4`, `v2.2.1`, `20.10.24+dfsg1`. `None` for what is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
        // What a distribution adds comes right after it: 20.10.24+dfsg1.
        let patch = parts.next().and_then(|rest| rest.split(|one: char| !one.is_ascii_digit()).next());
        let patch = patch.and_then(|patch| patch.parse().ok()).unwrap_or(0);
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Something that a client does since a version.
#[derive(Debug, Clone, Copy)]
pub struct Fact<Feature> {
    /// What it does.
    pub feature: Feature,
    /// The first version that does it.
    pub since: Version,
    /// Where that is written.
    pub source: &'static str,
}

/// Whether a client of this version has a feature of its table. A version that is not known has none.
pub(crate) fn has<F: PartialEq>(facts: &[Fact<F>], feature: &F, version: Option<Version>) -> bool {
    version.is_some_and(|version| facts.iter().any(|fact| fact.feature == *feature && version >= fact.since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_tell_them() {
        for (text, version) in [
            ("28.0.4", Some(Version::new(28, 0).patch(4))),
            ("20.10.24+dfsg1", Some(Version::new(20, 10).patch(24))),
            ("v2.2.1", Some(Version::new(2, 2).patch(1))),
            ("1.7.24~ds1", Some(Version::new(1, 7).patch(24))),
            ("v2.0.0-rc.1", Some(Version::new(2, 0))),
            ("29", Some(Version::new(29, 0))),
            ("dev", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
    }

    #[test]
    fn a_feature_is_there_from_its_version_on() {
        let facts = [Fact { feature: "x", since: Version::new(2, 2), source: "" }];
        for (version, there) in [
            (Some(Version::new(2, 1)), false),
            (Some(Version::new(2, 2)), true),
            (Some(Version::new(3, 0)), true),
            (None, false),
        ] {
            assert_eq!(has(&facts, &"x", version), there, "{version:?}");
        }
        assert!(!has(&facts, &"y", Some(Version::new(9, 0))));
    }
}
