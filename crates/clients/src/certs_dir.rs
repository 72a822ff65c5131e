//! A `certs.d`: a directory for each registry, which containerd and dockerd read at each pull.

use std::path::{Path, PathBuf};

use hubcap_oci::Registry;

use crate::change::Plan;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::hosts_toml::{self, Capabilities};
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};

/// The directory for registries that have none of their own.
const EVERY: &str = "_default";

/// The directory of a registry.
pub(crate) fn directory(certs_dir: &Path, registry: &Registry) -> PathBuf {
    certs_dir.join(registry.to_string())
}

/// The `hosts.toml` in a registry's directory.
pub(crate) fn hosts_toml(directory: &Path) -> PathBuf {
    directory.join("hosts.toml")
}

/// The `hosts.toml` of each of these registries.
pub(crate) fn hosts_tomls(certs_dir: &Path, registries: &Registries) -> Vec<PathBuf> {
    let named = registries.named.iter().map(|registry| directory(certs_dir, registry));
    let every = registries.every_other.then(|| certs_dir.join(EVERY));
    named.chain(every).map(|directory| hosts_toml(&directory)).collect()
}

/// A `certs.d`, and who reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CertsDir<'a> {
    pub(crate) path: &'a Path,
    pub(crate) capabilities: Capabilities,
}

impl CertsDir<'_> {
    /// Plans a `hosts.toml` for each registry.
    pub(crate) fn plan(
        self,
        journal: &Journal,
        mirror: &Mirror,
        registries: &Registries,
    ) -> Result<Plan, Error> {
        let mut plan = Vec::new();
        for path in hosts_tomls(self.path, registries) {
            plan.push(journal.plan(path.clone(), FileKind::HostsToml, |original| {
                hosts_toml::with_mirror(&path, original, mirror, self.capabilities).map(Some)
            })?);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    fn at(path: &Path) -> CertsDir<'_> {
        CertsDir { path, capabilities: Capabilities::PullAndResolve }
    }

    #[test]
    fn each_registry_has_its_directory_and_all_others_have_the_default_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(dir.path(), "containerd").expect("a journal");
        let mirror =
            Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()));
        let named = vec![Registry::docker_hub(), "registry.example:5000".parse().expect("a name")];
        for (every_other, directories) in [
            (false, &["docker.io", "registry.example:5000"][..]),
            (true, &["docker.io", "registry.example:5000", "_default"]),
        ] {
            let registries = Registries { named: named.clone(), every_other };
            let plan = at(dir.path()).plan(&journal, &mirror, &registries).expect("planned");
            let paths: Vec<&Path> = plan.iter().map(|planned| planned.change.path.as_path()).collect();
            let wanted: Vec<PathBuf> =
                directories.iter().map(|name| dir.path().join(name).join("hosts.toml")).collect();
            assert_eq!(paths, wanted);
        }
    }

    #[test]
    fn a_block_of_a_lost_journal_is_hubcaps() {
        let dir = tempfile::tempdir().expect("a directory");
        let mirror =
            Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read("/s/ca.pem".into()));
        let registries = vec![Registry::docker_hub()].into();
        for _ in 0..2 {
            let mut journal = Journal::open(dir.path(), "containerd").expect("a journal");
            journal
                .apply(&at(dir.path()).plan(&journal, &mirror, &registries).expect("planned"))
                .expect("applied");
            std::fs::remove_dir_all(dir.path().join("wiring")).expect("lost");
        }
        let journal = Journal::open(dir.path(), "containerd").expect("a journal");
        let plan = at(dir.path()).plan(&journal, &mirror, &registries).expect("planned");
        assert!(plan[0].original.is_none() && plan[0].change.is_empty(), "{plan:?}");
    }
}
