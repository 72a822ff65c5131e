//! What each version of dockerd reads, and which of its pulls therefore use the mirror.

use hubcap_oci::Registry;

use super::find::Dockerd;
use crate::coverage::Coverage;
use crate::version::{self, Fact, Version};

/// Something that dockerd does since a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It reads `proxies` of `daemon.json`; before, only its environment sets a proxy.
    ProxiesInDaemonJson,
    /// `docker build`, and pulls into containerd's image store, read `certs.d/REGISTRY/hosts.toml`, for every registry;
    /// before, only Docker Hub has mirrors.
    HostsToml,
    /// It asks for lists of referrers, and `hosts.toml` may name them among the capabilities; before, that word makes it
    /// refuse the file.
    ReferrersCapability,
    /// A new installation has containerd's image store. Whether this one has is in its `/info`.
    ContainerdStoreByDefault,
}

/// What dockerd does since which version.
pub const FACTS: [Fact<Feature>; 4] = [
    Fact {
        feature: Feature::ProxiesInDaemonJson,
        since: Version::new(23, 0),
        source: "moby 23.0, daemon/config, `proxies`",
    },
    Fact {
        feature: Feature::HostsToml,
        since: Version::new(28, 0),
        source: "moby 28, daemon/hosts.go, `RegistryHosts`",
    },
    Fact {
        feature: Feature::ReferrersCapability,
        since: Version::new(29, 1),
        source: "moby 29.1, its containerd v2.2, core/remotes/docker/config/hosts.go",
    },
    Fact {
        feature: Feature::ContainerdStoreByDefault,
        since: CONTAINERD_STORE,
        source: "moby 29, daemon/image_store_choice.go",
    },
];

/// How a dockerd without mirrors for a registry is configured.
const BY_PROXY: &str =
    "hubcap serve --proxy-listen 127.0.0.1:5480, then hubcap setup docker --proxy REGISTRY --restart";
const CONTAINERD_STORE: Version = Version::new(29, 0);

impl Dockerd {
    /// Whether this version has a feature. One that does not run has none.
    pub(super) fn has(&self, feature: Feature) -> bool {
        has(self.version().unwrap_or_default(), feature)
    }

    /// Which of its pulls use the mirror when it is configured for these registries.
    ///
    /// # Errors
    /// Why its version is not known.
    pub fn coverage(&self, registries: &[Registry]) -> Result<Vec<Coverage>, &str> {
        Ok(coverage(self.version()?, self.has_containerd_store(), registries))
    }
}

fn has(version: &str, feature: Feature) -> bool {
    version::has(&FACTS, &feature, Version::parse(version))
}

fn coverage(version: &str, containerd_store: bool, registries: &[Registry]) -> Vec<Coverage> {
    let others: Vec<String> =
        registries.iter().filter(|one| !one.is_docker_hub()).map(ToString::to_string).collect();
    let (no_others, others) = (others.is_empty(), others.join(", "));
    let mut found = Vec::new();
    if registries.iter().any(Registry::is_docker_hub) {
        found.push(Coverage::using("docker pull, run, compose and build with Docker Hub's images"));
    }
    if !has(version, Feature::HostsToml) {
        let pulls =
            format!("other registries than Docker Hub: dockerd {version} has mirrors for Docker Hub only");
        let remedy = format!("dockerd {}, or {BY_PROXY}", CONTAINERD_STORE.major);
        found.push(Coverage::not_using(pulls, Some(remedy)));
    } else if no_others {
        // There is nothing else to tell of.
    } else if containerd_store {
        found.push(Coverage::using(format!(
            "docker pull, run, compose and build with the images of {others}"
        )));
    } else {
        found.push(Coverage::using(format!("docker build with the images of {others}")));
        let pulls =
            format!("docker pull from {others}: that needs containerd's image store, or hubcap's proxy");
        found.push(Coverage::not_using(pulls, Some(BY_PROXY.to_owned())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(version: &str, containerd_store: bool, registries: &[&str]) -> Vec<(bool, String)> {
        let registries: Vec<Registry> = registries.iter().map(|name| name.parse().expect("a name")).collect();
        let coverage = coverage(version, containerd_store, &registries);
        coverage.into_iter().map(|one| (one.uses_mirror, one.pulls)).collect()
    }

    #[test]
    fn docker_hubs_images_use_the_mirror_in_every_version() {
        for version in ["20.10.24+dfsg1", "28.0.4", "29.0.0", "dev"] {
            let told = told(version, false, &["docker.io"]);
            assert!(told[0].0 && told[0].1.contains("Docker Hub"), "{told:?}");
        }
        assert_eq!(told("28.0.4", false, &["docker.io"]).len(), 1);
    }

    #[test]
    fn other_registries_need_hosts_toml_and_for_pulls_containerds_store() {
        let others = ["docker.io", "ghcr.io", "quay.io"];
        let told: [_; 3] =
            [told("27.5.1", true, &others), told("28.0.4", false, &others), told("28.0.4", true, &others)];
        let uses: Vec<Vec<bool>> =
            told.iter().map(|one| one.iter().map(|(uses, _)| *uses).collect()).collect();
        assert_eq!(uses, [vec![true, false], vec![true, true, false], vec![true, true]]);
        assert!(told[1][1].1.starts_with("docker build with the images of ghcr.io, quay.io"), "{told:?}");
    }

    #[test]
    fn a_fact_holds_from_its_version_on() {
        for (version, proxies, hosts_toml) in [
            ("20.10.24+dfsg1", false, false),
            ("23.0.1", true, false),
            ("27.5.1", true, false),
            ("28.0.4", true, true),
            ("29.1.0", true, true),
        ] {
            assert_eq!(has(version, Feature::ProxiesInDaemonJson), proxies, "{version}");
            assert_eq!(has(version, Feature::HostsToml), hosts_toml, "{version}");
            let referrers = version == "29.1.0";
            assert_eq!(has(version, Feature::ReferrersCapability), referrers, "{version}");
        }
    }
}
