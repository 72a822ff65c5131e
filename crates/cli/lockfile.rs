//! `hubcap.lock`: the digest of each tag, for people to read and to compare.
//!
//! ```toml
//! version = 1
//!
//! [images."docker.io/library/alpine:3.20"]
//! digest = "sha256:..."
//! platforms."linux/amd64" = "sha256:..."
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use hubcap_clients::read_text;
use hubcap_oci::{Digest, ImageRef, Reference, Tag, Target};
use serde::Deserialize;

use crate::replace::{PUBLIC, write_named};

/// The version of the format that this hubcap reads and writes.
const VERSION: u32 = 1;

/// A lock, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    #[serde(default)]
    pub(crate) images: BTreeMap<String, Locked>,
}

/// The digests of one tag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locked {
    /// The digest of the manifest or index.
    pub(crate) digest: Digest,
    /// The manifest's digest for each platform. It is for people: `digest` fixes them all.
    #[serde(default)]
    pub(crate) platforms: BTreeMap<String, Digest>,
}

impl Lock {
    pub(crate) fn new(images: BTreeMap<String, Locked>) -> Self {
        Self { version: VERSION, images }
    }

    /// Reads a lock's file.
    ///
    /// # Errors
    /// When there is none, or a name in it is not a whole name with a tag.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_text(path).context("there is no lock to read; `hubcap lock` writes one")?;
        Self::parse(&text).with_context(|| format!("{} is no lock", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let lock: Self = toml::from_str(text)?;
        if lock.version != VERSION {
            bail!("its version is {}, and this hubcap knows {VERSION}", lock.version);
        }
        for name in lock.images.keys() {
            let image: ImageRef = name.parse()?;
            if image.to_string() != *name || matches!(image.reference, Reference::Digest(_)) {
                bail!("{name:?} is no whole name with a tag; write {image}");
            }
        }
        Ok(lock)
    }

    /// The tags and their digests, as the cache takes them.
    pub(crate) fn tags(&self) -> HashMap<(Target, Tag), Digest> {
        let tag = |(name, locked): (&String, &Locked)| {
            let ImageRef { registry, repository, reference } = name.parse().ok()?;
            let Reference::Tag(tag) = reference else { return None };
            Some(((Target { registry, repository }, tag), locked.digest))
        };
        self.images.iter().filter_map(tag).collect()
    }

    /// Writes the lock's file in one step.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_named(path, PUBLIC, |mut file| Ok(file.write_all(self.to_string().as_bytes())?))
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# What the tags of these images mean. Written by `hubcap lock`; `hubcap serve --frozen` answers from it."
        )?;
        writeln!(f, "version = {}", self.version)?;
        for (name, Locked { digest, platforms }) in &self.images {
            writeln!(f, "\n[images.{}]\ndigest = \"{digest}\"", key(name)?)?;
            for (platform, digest) in platforms {
                writeln!(f, "platforms.{} = \"{digest}\"", key(platform)?)?;
            }
        }
        Ok(())
    }
}

/// A key as TOML writes it: quoted and escaped where that is needed.
fn key(key: &str) -> Result<String, fmt::Error> {
    let line = toml::to_string(&BTreeMap::from([(key, 0)])).map_err(|_| fmt::Error)?;
    Ok(line.strip_suffix(" = 0\n").ok_or(fmt::Error)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubcap_oci::Algorithm;

    #[test]
    fn a_lock_is_read_as_it_was_written_in_a_stable_order() {
        let digest = |n: u8| Digest::of(Algorithm::Sha256, &[n]);
        let platforms = [("linux/arm64/v8", 3), ("linux/amd64", 2)];
        let locked = Locked {
            digest: digest(1),
            platforms: platforms.into_iter().map(|(name, n)| (name.into(), digest(n))).collect(),
        };
        let names = ["localhost:5000/a/b:x", "docker.io/library/alpine:3.20"];
        let lock = Lock::new(names.into_iter().map(|name| (name.into(), locked.clone())).collect());
        let text = lock.to_string();
        assert_eq!(Lock::parse(&text).expect("a lock"), lock);
        let at = |part: &str| text.find(part).expect(part);
        assert!(at("docker.io/") < at("localhost:5000") && at("linux/amd64") < at("linux/arm64"));
        assert_eq!(lock.tags().len(), 2);
    }

    #[test]
    fn no_platform_writes_an_entry_of_its_own() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let forged = "linux/amd64\" = \"x\"\n[images.\"docker.io/library/node:20\"]\ndigest = \"x";
        let locked = Locked { digest, platforms: BTreeMap::from([(forged.to_owned(), digest)]) };
        let lock = Lock::new(BTreeMap::from([("docker.io/library/alpine:3".to_owned(), locked)]));
        assert_eq!(Lock::parse(&lock.to_string()).expect("a lock"), lock);
    }

    #[test]
    fn what_is_no_lock_is_refused_with_a_reason() {
        let image = |name: &str| {
            let digest = Digest::of(Algorithm::Sha256, b"");
            format!("version = 1\n[images.\"{name}\"]\ndigest = \"{digest}\"")
        };
        for (text, why) in [
            ("version = 2".into(), "version"),
            (image("alpine:3"), "docker.io/library/alpine:3"),
            (image("docker.io/library/alpine"), "docker.io/library/alpine:latest"),
            (image("Upper"), "lowercase"),
            ("version = 1\nextra = 1".into(), "extra"),
            ("version = 1\n[images.\"a.b/c:d\"]\ndigest = \"sha256:1\"".into(), "digest"),
        ] {
            let error = format!("{:#}", Lock::parse(&text).expect_err(&text));
            assert!(error.contains(why), "{error}");
        }
    }
}
