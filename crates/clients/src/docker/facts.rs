//! What each version of dockerd reads, and which of its pulls therefore use the mirror.

use hubcap_oci::Registry;

use super::find::Dockerd;
use crate::change::Planned;
use crate::coverage::Coverage;
use crate::file_kind::FileKind;
use crate::process::started;
use crate::version::{self, Fact, Version};

/// Something that dockerd does since a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It reads `proxies` of `daemon.json`; before, only its environment sets a proxy.
    ProxiesInDaemonJson,
    /// `docker build` takes Docker Hub's mirrors as they are when it asks for a repository first; before, BuildKit has those
    /// that dockerd had when it started.
    BuildsTakeNewMirrors,
    /// `docker build`, and pulls into containerd's image store, read `certs.d/REGISTRY/hosts.toml`, for every registry;
    /// before, only Docker Hub has mirrors.
    HostsToml,
    /// It asks for lists of referrers, and `hosts.toml` may name them among the capabilities; before, that word makes it
    /// refuse the file.
    ReferrersCapability,
    /// It can have containerd's image store, if `daemon.json` asks for it.
    ContainerdStore,
    /// A new installation has containerd's image store. Whether this one has is in its `/info`.
    ContainerdStoreByDefault,
}

/// What dockerd does since which version.
pub const FACTS: [Fact<Feature>; 6] = [
    Fact {
        feature: Feature::ProxiesInDaemonJson,
        since: Version::new(23, 0),
        source: "moby 23.0, daemon/config, `proxies`",
    },
    Fact {
        feature: Feature::BuildsTakeNewMirrors,
        since: Version::new(25, 0),
        source: "moby 25.0, cmd/dockerd/daemon.go, `RegistryHosts`; seen with 20.10.24, 26.1.5 and 28.5.2",
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
        feature: Feature::ContainerdStore,
        since: Version::new(24, 0),
        source: "moby 24.0, daemon/daemon.go, `containerd-snapshotter`",
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
        let builds = if self.builds_have_its_mirrors() {
            Builds::HaveItsMirrors
        } else {
            Builds::WaitFor(self.restart_command())
        };
        Ok(coverage(self.version()?, (builds, self.has_containerd_store()), registries))
    }

    /// Whether builds have the mirrors of this plan only once dockerd is restarted.
    pub fn builds_wait_for_restart(&self, plan: &[Planned]) -> bool {
        if self.has(Feature::BuildsTakeNewMirrors) {
            return false;
        }
        let json = plan.iter().find(|planned| planned.kind == FileKind::DaemonJson);
        json.is_some_and(|json| !json.change.is_empty() || !self.builds_have_its_mirrors())
    }

    /// Whether BuildKit has the mirrors that `daemon.json` has now. Where it keeps those of dockerd's start, and the file is
    /// newer, or dockerd's process is not known, they may be others.
    fn builds_have_its_mirrors(&self) -> bool {
        let started = self.pid.and_then(started);
        let written = std::fs::metadata(&self.daemon_json).and_then(|file| file.modified()).ok();
        self.has(Feature::BuildsTakeNewMirrors)
            || started.zip(written).is_some_and(|(started, written)| written < started)
    }
}

/// Which mirrors BuildKit in dockerd has.
enum Builds {
    HaveItsMirrors,
    /// Those of `daemon.json` only after this command.
    WaitFor(String),
}

fn has(version: &str, feature: Feature) -> bool {
    version::has(&FACTS, &feature, Version::parse(version))
}

fn coverage(
    version: &str,
    (builds, containerd_store): (Builds, bool),
    registries: &[Registry],
) -> Vec<Coverage> {
    let others: Vec<String> =
        registries.iter().filter(|one| !one.is_docker_hub()).map(ToString::to_string).collect();
    let (no_others, others) = (others.is_empty(), others.join(", "));
    let mut found = Vec::new();
    if registries.iter().any(Registry::is_docker_hub) {
        match builds {
            Builds::HaveItsMirrors => {
                found.push(Coverage::using("docker pull, run, compose and build with Docker Hub's images"));
            }
            Builds::WaitFor(restart) => {
                found.push(Coverage::using("docker pull, run and compose with Docker Hub's images"));
                let builds = format!(
                    "docker build with Docker Hub's images: BuildKit in dockerd {version} has the mirrors that dockerd had \
                     when it started, and daemon.json was written later"
                );
                found.push(Coverage::not_using(builds, Some(restart)));
            }
        }
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
        let coverage = coverage(version, (Builds::HaveItsMirrors, containerd_store), &registries);
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
    fn builds_of_a_dockerd_that_has_to_be_restarted_first_do_not_use_the_mirror() {
        let hub = [Registry::docker_hub()];
        let told = coverage("20.10.24", (Builds::WaitFor("restart it".into()), false), &hub);
        assert!(told[0].uses_mirror && !told[0].pulls.contains("build"), "{told:?}");
        assert!(!told[1].uses_mirror && told[1].pulls.starts_with("docker build"), "{told:?}");
        assert_eq!(told[1].remedy.as_deref(), Some("restart it"));
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
        for (version, proxies, builds, hosts_toml) in [
            ("20.10.24+dfsg1", false, false, false),
            ("23.0.1", true, false, false),
            ("26.1.5", true, true, false),
            ("27.5.1", true, true, false),
            ("28.0.4", true, true, true),
            ("29.1.0", true, true, true),
        ] {
            assert_eq!(has(version, Feature::ProxiesInDaemonJson), proxies, "{version}");
            assert_eq!(has(version, Feature::BuildsTakeNewMirrors), builds, "{version}");
            assert_eq!(has(version, Feature::HostsToml), hosts_toml, "{version}");
            let referrers = version == "29.1.0";
            assert_eq!(has(version, Feature::ReferrersCapability), referrers, "{version}");
        }
    }
}
