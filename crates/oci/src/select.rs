//! Platform choice: which of an index's manifests a pull or an export takes.

use crate::{Descriptor, Digest, Platform};

/// An index has no manifest for a platform that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing for {wanted}; the image is for {}", join(.offered))]
pub struct NotOffered {
    /// The platform that was asked for.
    pub wanted: Platform,
    /// The platforms that the index names, in its order.
    pub offered: Vec<Platform>,
}

/// Returns the first of `manifests` whose platform `wanted` accepts. A manifest without a platform fits none.
pub fn for_platform<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    manifests.iter().find(|one| one.platform.as_ref().is_some_and(|offered| wanted.accepts(offered)))
}

/// Returns the manifests for `platforms`, by the rule of [`for_platform`]. Two platforms that share a manifest get it once.
///
/// # Errors
/// [`NotOffered`] for the first platform that has no manifest.
pub fn for_platforms(manifests: &[Descriptor], platforms: &[Platform]) -> Result<Vec<Digest>, NotOffered> {
    let mut chosen = Vec::new();
    for wanted in platforms {
        let Some(manifest) = for_platform(manifests, wanted) else {
            let offered = manifests.iter().filter_map(|one| one.platform.clone()).collect();
            return Err(NotOffered { wanted: wanted.clone(), offered });
        };
        if !chosen.contains(&manifest.digest) {
            chosen.push(manifest.digest);
        }
    }
    Ok(chosen)
}

fn join(platforms: &[Platform]) -> String {
    platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, media_type};

    fn digest(n: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[n])
    }

    fn choose(wanted: &[&str]) -> Result<Vec<Digest>, NotOffered> {
        let offered = ["unknown/unknown", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8"];
        let manifests: Vec<Descriptor> = (0..)
            .zip(offered.into_iter().chain(["linux/amd64"]))
            .map(|(n, platform)| {
                let mut manifest = Descriptor::new(media_type::OCI_MANIFEST, digest(n), 1);
                manifest.platform = Some(platform.parse().expect("a platform"));
                manifest
            })
            .collect();
        let wanted: Vec<Platform> = wanted.iter().map(|one| one.parse().expect("a platform")).collect();
        for_platforms(&manifests, &wanted)
    }

    #[test]
    fn each_platform_gets_the_first_manifest_that_fits() {
        assert_eq!(choose(&["linux/amd64"]), Ok(vec![digest(1)]));
        assert_eq!(choose(&["linux/arm/v7", "linux/arm64"]), Ok(vec![digest(3), digest(4)]));
    }

    #[test]
    fn a_manifest_is_chosen_once() {
        assert_eq!(choose(&["linux/amd64", "linux/amd64"]), Ok(vec![digest(1)]));
    }

    #[test]
    fn a_missing_platform_is_told_with_those_that_are_offered() {
        let error = choose(&["linux/s390x"]).expect_err("none").to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm/v7"), "{error}");
    }

    #[test]
    fn a_manifest_without_a_platform_fits_none() {
        let manifest = Descriptor::new(media_type::OCI_MANIFEST, digest(0), 1);
        assert_eq!(for_platform(&[manifest], &Platform::host()), None);
    }
}
