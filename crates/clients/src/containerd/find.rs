//! Which containerd is here, and what its configuration says.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::facts::{self, Cri, Feature};
use crate::error::Error;
use crate::file;
use crate::format::hosts_toml::Capabilities;
use crate::format::toml;
use crate::journal::Journal;
use crate::version::{self, Version};

/// Where a containerd is, as far as a user says it.
#[derive(Debug, Clone, Default)]
pub struct Containerd {
    /// Its `config.toml`.
    pub config: Option<PathBuf>,
    /// Its `certs.d`, which its configuration calls `config_path`.
    pub certs_dir: Option<PathBuf>,
}

/// A containerd that was found, running or not; or where one would be.
#[derive(Debug)]
pub(crate) struct FoundContainerd {
    pub(super) config: PathBuf,
    pub(crate) certs_dir: PathBuf,
    /// Whether Kubernetes' pulls read `certs_dir`.
    pub(crate) cri: Cri,
    /// What its `hosts.toml` may say.
    pub(crate) capabilities: Capabilities,
    pub(super) installed: bool,
}

impl Containerd {
    /// The same, with the directory that was configured, where the user names none.
    pub(super) fn of_journal(&self, journal: &Journal) -> Self {
        let mut written = journal.paths();
        let configured = || Some(written.next()?.parent()?.parent()?.to_owned());
        Self { config: self.config.clone(), certs_dir: self.certs_dir.clone().or_else(configured) }
    }

    /// Finds it. No containerd at all is no error.
    pub(super) fn find(&self) -> Result<FoundContainerd, Error> {
        let config = self.config.clone().unwrap_or_else(|| facts::CONFIG.into());
        let text = file::read(&config)?;
        FoundContainerd::new(config, self.certs_dir.clone(), (text.as_deref(), installed_version()))
    }
}

impl FoundContainerd {
    /// One of this version, by the text of its configuration; the directory is what the user says, else what that says.
    pub(crate) fn new(
        config: PathBuf,
        certs_dir: Option<PathBuf>,
        (text, version): (Option<&str>, Option<Version>),
    ) -> Result<Self, Error> {
        let (paths, plugin) = config_path(&config, text)?;
        let certs_dir = certs_dir.or_else(|| paths.first().cloned());
        let certs_dir = certs_dir.unwrap_or_else(|| facts::CERTS_DIR.into());
        let cri = Cri::new(version, plugin, &paths, &certs_dir);
        let capabilities =
            Capabilities::of(version::has(&facts::FACTS, &Feature::ReferrersCapability, version));
        let installed = version.is_some() || text.is_some();
        Ok(Self { config, certs_dir, cri, capabilities, installed })
    }
}

/// The directories that CRI reads, and the plugin's name in this configuration.
fn config_path(path: &Path, text: Option<&str>) -> Result<(Vec<PathBuf>, &'static str), Error> {
    let document = toml::parse(path, text)?;
    let plugin = facts::cri_plugin(document.get("version").and_then(|version| version.as_integer()));
    let plugins = document.get("plugins");
    let registry = plugins.and_then(|plugins| plugins.get(plugin)).and_then(|cri| cri.get("registry"));
    let paths = registry.and_then(|registry| registry.get("config_path")).and_then(|paths| paths.as_str());
    let paths = paths.unwrap_or_default().split(':').filter(|path| !path.is_empty());
    Ok((paths.map(PathBuf::from).collect(), plugin))
}

fn installed_version() -> Option<Version> {
    let output = Command::new("containerd").arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Of `containerd github.com/containerd/containerd 1.6.20~ds1 ...`, and of `Docker version 28.2.2, build ...`.
pub(crate) fn parse_version(told: &str) -> Option<Version> {
    Version::parse(told.split_whitespace().nth(2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cri_reads_what_its_own_version_of_the_configuration_names() {
        let (cri_1, cri_2) = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images");
        let two = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n";
        let (paths, plugin) = config_path(Path::new("c"), Some(two)).expect("TOML");
        assert_eq!((paths, plugin), (vec!["/a".into(), "/b".into()], cri_1));
        let three = two.replace("= 2", "= 3");
        assert_eq!(config_path(Path::new("c"), Some(&three)).expect("TOML"), (Vec::new(), cri_2));
        let three = three.replace(cri_1, cri_2);
        assert_eq!(config_path(Path::new("c"), Some(&three)).expect("TOML").0.len(), 2);
        assert_eq!(config_path(Path::new("c"), None).expect("nothing"), (Vec::new(), cri_1));
    }

    #[test]
    fn a_directory_that_cri_does_not_read_is_told_with_what_to_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.toml");
        let find = |certs_dir: Option<&str>| {
            let containerd =
                Containerd { config: Some(config.clone()), certs_dir: certs_dir.map(PathBuf::from) };
            containerd.find().expect("readable")
        };
        assert!(matches!(find(Some("/c")).cri, Cri::Not { .. }));
        assert!(find(Some("/c")).notes()[1].contains("config_path = \"/c\""));
        std::fs::write(&config, "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/c\"\n")
            .expect("written");
        assert_eq!((find(None).cri, find(None).certs_dir), (Cri::Configured, PathBuf::from("/c")));
        assert!(matches!(find(Some("/d")).cri, Cri::Not { .. }));
    }

    #[test]
    fn versions_are_read_as_containerd_tells_them() {
        let told = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3";
        assert_eq!(parse_version(told), Some(Version::new(1, 6).patch(20)));
        let told = "containerd github.com/containerd/containerd/v2 v2.2.1 abc";
        assert_eq!(parse_version(told), Some(Version::new(2, 2).patch(1)));
        assert_eq!(parse_version("what"), None);
    }
}
