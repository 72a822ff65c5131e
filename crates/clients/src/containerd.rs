//! containerd: a `hosts.toml` for each registry, read at each pull, so that nothing has to be restarted.
//!
//! `ctr`, nerdctl and Kubernetes' CRI each find the directory in a way of their own; containerd's configuration is
//! read to tell which of them do, and is never changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::change::Planned;
use crate::hosts_toml::{self, Registries, without_ours};
use crate::journal::Journal;
use crate::{Change, Error, Mirror, document, file};

const CONFIG: &str = "/etc/containerd/config.toml";
const CERTS_DIR: &str = "/etc/containerd/certs.d";
/// The CRI plugin that pulls, in version 2 and in version 3 of containerd's configuration.
const CRI: [&str; 2] = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"];

/// Where a containerd is, as far as a user says it.
#[derive(Debug, Clone, Default)]
pub struct ContainerdAt {
    /// Its `config.toml`.
    pub config: Option<PathBuf>,
    /// Its `certs.d`, which its configuration calls `config_path`.
    pub certs_dir: Option<PathBuf>,
}

/// A containerd, running or not.
#[derive(Debug)]
pub struct Containerd {
    config: PathBuf,
    certs_dir: PathBuf,
    cri: Cri,
    installed: bool,
}

/// Whether Kubernetes' pulls read the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cri {
    /// `config_path` names it.
    Configured,
    /// `config_path` is empty, and this containerd (2.2 and later) looks there then.
    ByDefault,
    /// `config_path` is empty, or names another one.
    Not(&'static str),
}

impl Containerd {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a `config.toml` that is no TOML; [`Error::Io`] and [`Error::Rights`] when it cannot
    /// be read. No containerd at all is no error.
    pub fn find(at: &ContainerdAt) -> Result<Self, Error> {
        let config = at.config.clone().unwrap_or_else(|| CONFIG.into());
        let text = file::read(&config)?;
        let version = version();
        let (paths, plugin) = config_path(&config, text.as_deref())?;
        let certs_dir = at.certs_dir.clone().or_else(|| paths.first().cloned());
        let certs_dir = certs_dir.unwrap_or_else(|| CERTS_DIR.into());
        let cri = match version {
            _ if paths.contains(&certs_dir) => Cri::Configured,
            Some(version) if paths.is_empty() && version >= (2, 2) && certs_dir == Path::new(CERTS_DIR) => {
                Cri::ByDefault
            }
            _ => Cri::Not(plugin),
        };
        let installed = version.is_some() || text.is_some();
        Ok(Self { config, certs_dir, cri, installed })
    }

    /// Its `certs.d`.
    pub fn certs_dir(&self) -> &Path {
        &self.certs_dir
    }

    /// Whether there is one at all.
    pub fn is_installed(&self) -> bool {
        self.installed
    }

    /// Whether Kubernetes' pulls read the directory.
    pub fn cri(&self) -> Cri {
        self.cri
    }

    /// What its users have to know, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let dir = self.certs_dir.display();
        let cri = match self.cri {
            Cri::Configured => {
                format!("Kubernetes' pulls (CRI) read {dir}: {} says so.", self.config.display())
            }
            Cri::ByDefault => format!("Kubernetes' pulls (CRI) read {dir} by default."),
            Cri::Not(plugin) => format!(
                "Kubernetes' pulls (CRI) do not read {dir}. To have them do it, write into {}, and restart containerd:\n\
                 [plugins.\"{plugin}\".registry]\n  config_path = \"{dir}\"",
                self.config.display()
            ),
        };
        vec![format!("ctr reads it when told: ctr images pull --hosts-dir {dir} IMAGE"), cri]
    }

    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a user's `hosts.toml` that cannot be merged with; [`Error::Io`] and
    /// [`Error::Rights`] when files cannot be read.
    pub fn plan(
        &self,
        (journal, mirror): (&Journal, &Mirror),
        registries: &Registries,
    ) -> Result<Vec<Planned>, Error> {
        hosts_toml::plan(&self.certs_dir, (journal, mirror), registries)
    }

    /// What taking everything back would change.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when files cannot be read.
    pub fn plan_undo(journal: &Journal) -> Result<Vec<Change>, Error> {
        journal.plan_undo(|_, now| without_ours(now))
    }
}

/// The directories that CRI reads, and the plugin's name in this configuration.
fn config_path(path: &Path, text: Option<&str>) -> Result<(Vec<PathBuf>, &'static str), Error> {
    let document = document::parse(path, text)?;
    let version = document.get("version").and_then(|version| version.as_integer()).unwrap_or(2);
    let plugin = CRI[usize::from(version >= 3)];
    let plugins = document.get("plugins");
    let registry = plugins.and_then(|plugins| plugins.get(plugin)).and_then(|cri| cri.get("registry"));
    let paths = registry.and_then(|registry| registry.get("config_path")).and_then(|paths| paths.as_str());
    let paths = paths.unwrap_or_default().split(':').filter(|path| !path.is_empty());
    Ok((paths.map(PathBuf::from).collect(), plugin))
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 ...`
fn version() -> Option<(u32, u32)> {
    let output = Command::new("containerd").arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(told: &str) -> Option<(u32, u32)> {
    let version = told.split_whitespace().nth(2)?.trim_start_matches('v');
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cri_reads_what_its_own_version_of_the_configuration_names() {
        let two = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n";
        let (paths, plugin) = config_path(Path::new("c"), Some(two)).expect("TOML");
        assert_eq!((paths, plugin), (vec!["/a".into(), "/b".into()], CRI[0]));
        let three = two.replace("= 2", "= 3");
        assert_eq!(config_path(Path::new("c"), Some(&three)).expect("TOML"), (Vec::new(), CRI[1]));
        let three = three.replace(CRI[0], CRI[1]);
        assert_eq!(config_path(Path::new("c"), Some(&three)).expect("TOML").0.len(), 2);
        assert_eq!(config_path(Path::new("c"), None).expect("nothing"), (Vec::new(), CRI[0]));
    }

    #[test]
    fn a_directory_that_cri_does_not_read_is_told_with_what_to_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.toml");
        let find = |certs_dir: Option<&str>| {
            let at = ContainerdAt { config: Some(config.clone()), certs_dir: certs_dir.map(PathBuf::from) };
            Containerd::find(&at).expect("readable")
        };
        assert!(matches!(find(Some("/c")).cri(), Cri::Not(_)));
        assert!(find(Some("/c")).notes()[1].contains("config_path = \"/c\""));
        std::fs::write(&config, "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/c\"\n")
            .expect("written");
        assert_eq!((find(None).cri(), find(None).certs_dir()), (Cri::Configured, Path::new("/c")));
        assert!(matches!(find(Some("/d")).cri(), Cri::Not(_)));
    }

    #[test]
    fn versions_are_read_as_containerd_tells_them() {
        let told = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3";
        assert_eq!(parse_version(told), Some((1, 6)));
        assert_eq!(parse_version("containerd github.com/containerd/containerd/v2 v2.2.1 abc"), Some((2, 2)));
        assert_eq!(parse_version("what"), None);
    }
}
