//! The registries that need no configuration: public ones, each at its own name, which its owner alone runs.

use hubcap_oci::{Registry, RegistryPattern};
use url::Url;

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

/// The built-in registries that have a name.
pub(crate) fn names() -> impl Iterator<Item = Registry> {
    NAMES.iter().filter_map(|name| name.parse().ok())
}

/// The patterns of further built-in ones.
pub(crate) fn patterns() -> impl Iterator<Item = RegistryPattern> {
    PATTERNS.iter().filter_map(|pattern| pattern.parse().ok())
}

/// Whether a registry is one of [`names`].
pub(crate) fn is_named(registry: &Registry) -> bool {
    NAMES.contains(&registry.as_str())
}

/// Whether a registry needs no configuration.
pub fn is_built_in(registry: &Registry) -> bool {
    is_named(registry) || patterns().any(|pattern| pattern.matches(registry))
}

/// Where a registry's API is when nothing else is configured: at the registry's own name, for Docker Hub at its API's.
pub fn default_url(registry: &Registry) -> Option<Url> {
    let (_, port) = registry.host_and_port();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Url::parse(&format!("https://{}{port}", registry.api_host())).ok()
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
