//! A `certs.d`: a directory for each registry, which containerd and dockerd read at each pull.

use std::path::{Path, PathBuf};

use hubcap_oci::Registry;

use crate::change::Plan;
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::hosts_toml;
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

/// Plans a `hosts.toml` for each registry.
pub(crate) fn plan(
    certs_dir: &Path,
    journal: &Journal,
    mirror: &Mirror,
    registries: &Registries,
) -> Result<Plan, Error> {
    let mut directories: Vec<PathBuf> =
        registries.named.iter().map(|registry| directory(certs_dir, registry)).collect();
    if registries.every_other {
        directories.push(certs_dir.join(EVERY));
    }
    let mut plan = Vec::new();
    for directory in directories {
        let path = hosts_toml(&directory);
        plan.push(journal.plan(path.clone(), FileKind::HostsToml, |original| {
            hosts_toml::with_mirror(&path, original, mirror).map(Some)
        })?);
    }
    Ok(plan)
}
