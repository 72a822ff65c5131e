//! What each version of containerd reads.

use std::path::{Path, PathBuf};

use crate::version::{self, Fact, Version};

/// Its configuration.
pub(super) const CONFIG: &str = "/etc/containerd/config.toml";
/// Where it looks for registries' directories.
pub(super) const CERTS_DIR: &str = "/etc/containerd/certs.d";

/// Something that containerd does since a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It reads `hosts.toml`, at each pull.
    HostsToml,
    /// `hosts.toml` may say `dial_timeout`; before, that key is ignored.
    DialTimeout,
    /// `hosts.toml` may name `referrers` among the capabilities; before, that word makes it refuse the file.
    ReferrersCapability,
    /// CRI reads `/etc/containerd/certs.d` where `config_path` is empty; before, it reads none then.
    CriReadsCertsDirByDefault,
    /// It can have a differ of another process.
    Differs,
}

/// What containerd does since which version.
pub const FACTS: [Fact<Feature>; 5] = [
    Fact {
        feature: Feature::HostsToml,
        since: Version::new(1, 5),
        source: "containerd, docs/hosts.md and docs/cri/registry.md",
    },
    Fact { feature: Feature::DialTimeout, since: Version::new(2, 1), source: "containerd, docs/hosts.md" },
    Fact {
        feature: Feature::ReferrersCapability,
        since: Version::new(2, 2),
        source: "containerd v2.2, core/remotes/docker/config/hosts.go",
    },
    Fact {
        feature: Feature::CriReadsCertsDirByDefault,
        since: Version::new(2, 2),
        source: "containerd v2.2, plugins/cri/images/plugin.go",
    },
    Fact {
        feature: Feature::Differs,
        since: Version::new(1, 7).patch(4),
        source: "containerd, releases/v1.7.4.toml: remote/proxy differ",
    },
];

/// Whether Kubernetes' pulls read a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cri {
    /// `config_path` names it.
    Configured,
    /// `config_path` is empty, and this version looks there then.
    ByDefault,
    /// `config_path` is empty, or names another one.
    Not {
        /// The plugin whose `config_path` should name it.
        plugin: &'static str,
    },
}

impl Cri {
    /// What CRI of this version does with `certs_dir`, where its `plugin` is configured with `paths`.
    pub(super) fn new(
        version: Option<Version>,
        plugin: &'static str,
        paths: &[PathBuf],
        certs_dir: &Path,
    ) -> Self {
        let by_default = version::has(&FACTS, &Feature::CriReadsCertsDirByDefault, version);
        if paths.iter().any(|path| path == certs_dir) {
            Self::Configured
        } else if by_default && paths.is_empty() && certs_dir == Path::new(CERTS_DIR) {
            Self::ByDefault
        } else {
            Self::Not { plugin }
        }
    }

    /// Whether they do.
    pub(super) fn reads_directory(self) -> bool {
        !matches!(self, Self::Not { .. })
    }
}

/// The CRI plugin that pulls, by the configuration file's version; containerd 2.0 has version 3 (containerd,
/// docs/cri/config.md).
pub(super) const fn cri_plugin(config_version: Option<i64>) -> &'static str {
    match config_version {
        Some(3..) => "io.containerd.cri.v1.images",
        _ => "io.containerd.grpc.v1.cri",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_follows_the_configurations_version() {
        for (version, plugin) in [
            (None, "io.containerd.grpc.v1.cri"),
            (Some(1), "io.containerd.grpc.v1.cri"),
            (Some(2), "io.containerd.grpc.v1.cri"),
            (Some(3), "io.containerd.cri.v1.images"),
            (Some(4), "io.containerd.cri.v1.images"),
        ] {
            assert_eq!(cri_plugin(version), plugin, "{version:?}");
        }
    }

    #[test]
    fn cri_reads_the_usual_directory_by_default_since_2_2() {
        let at = |version, paths: &[PathBuf], dir: &str| {
            Cri::new(Some(version), "p", paths, Path::new(dir)).reads_directory()
        };
        assert!(!at(Version::new(1, 7), &[], CERTS_DIR));
        assert!(!at(Version::new(2, 1), &[], CERTS_DIR));
        assert!(at(Version::new(2, 2), &[], CERTS_DIR));
        assert!(!at(Version::new(2, 2), &[], "/other"));
        assert!(!at(Version::new(2, 2), &["/other".into()], CERTS_DIR));
        assert!(at(Version::new(1, 5), &["/other".into()], "/other"));
    }
}
