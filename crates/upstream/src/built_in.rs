//! The registries that need no configuration: public ones, each at its own name, which its owner alone runs.

use hubcap_oci::{Registry, RegistryPattern};

/// By name. Docker Hub's API is the only one that is elsewhere.
const NAMES: [&str; 25] = [
    Registry::DOCKER_HUB,
    "asia.gcr.io",
    "cgr.dev",
    "container-registry.oracle.com",
    "docker.elastic.co",
    "eu.gcr.io",
    "gcr.io",
    "ghcr.io",
    "icr.io",
    "k8s.gcr.io",
    "marketplace.gcr.io",
    "mcr.microsoft.com",
    "mirror.gcr.io",
    "nvcr.io",
    "public.ecr.aws",
    "quay.io",
    "registry.access.redhat.com",
    "registry.fedoraproject.org",
    "registry.gitlab.com",
    "registry.k8s.io",
    "registry.opensuse.org",
    "registry.redhat.io",
    "registry.suse.com",
    "us.gcr.io",
    "xpkg.upbound.io",
];

/// Google's Artifact Registry has a host for each region.
const PATTERNS: [&str; 1] = ["*-docker.pkg.dev"];

/// Those with a name.
pub(crate) fn names() -> impl Iterator<Item = Registry> {
    NAMES.iter().filter_map(|name| name.parse().ok())
}

/// Those by a pattern.
pub(crate) fn patterns() -> impl Iterator<Item = RegistryPattern> {
    PATTERNS.iter().filter_map(|pattern| pattern.parse().ok())
}

/// Whether a registry is one of [`names`].
pub(crate) fn is_named(registry: &Registry) -> bool {
    NAMES.contains(&registry.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_pattern_is_one() {
        assert_eq!((names().count(), patterns().count()), (NAMES.len(), PATTERNS.len()));
        assert!(names().zip(NAMES).all(|(registry, name)| registry.as_str() == name && is_named(&registry)));
        assert!(patterns().all(|pattern| pattern.domain().is_some()));
    }
}
