//! Which files of podman, buildah and skopeo are read, for all users or for one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::facts::{DROP_IN, Places};
use crate::error::Error;
use crate::paths;
use crate::process::path_variable;

/// Where podman's files are, as far as a user says it.
#[derive(Debug, Clone, Default)]
pub struct Podman {
    /// The drop-ins' directory, `registries.conf.d`.
    pub conf_dir: Option<PathBuf>,
    /// `certs.d`.
    pub certs_dir: Option<PathBuf>,
}

/// The files that are read, and ours among them.
#[derive(Debug)]
pub(super) struct PodmanFiles {
    /// Our drop-in.
    pub(super) drop_in: PathBuf,
    /// Ours is made in the first, unless a later one has a directory for the mirror.
    pub(super) certs_dirs: Vec<PathBuf>,
    /// The directories of drop-ins that are read.
    pub(super) dirs: Vec<PathBuf>,
    /// What is read before our drop-in, in that order.
    pub(super) before: Vec<PathBuf>,
}

impl Podman {
    /// Finds the files.
    ///
    /// # Errors
    /// [`Error::Client`] when there is no home directory.
    pub(super) fn find(&self) -> Result<PodmanFiles, Error> {
        let Some(home) = path_variable("HOME") else {
            return Err(Error::Client(
                "HOME is not set, so podman's files are not found; use --conf-dir and --certs-dir".into(),
            ));
        };
        let own = home.join(".config/containers");
        let has_registries_conf = own.join("registries.conf").exists();
        let places = Places::new(&own, rustix::process::geteuid().is_root(), has_registries_conf);
        let conf_dir = self.conf_dir.clone().unwrap_or(places.conf_dir);
        let drop_in = conf_dir.join(DROP_IN);
        let dirs = places.drop_ins.clone();
        let mut before = vec![places.registries_conf];
        for dir in places.drop_ins {
            before.extend(drop_ins(&dir, &drop_in)?);
            if dir == conf_dir {
                break;
            }
        }
        let dirs = self.conf_dir.clone().map_or(dirs, |dir| vec![dir]);
        let certs_dirs = self.certs_dir.clone().map_or(places.certs_dirs, |dir| vec![dir]);
        Ok(PodmanFiles { drop_in, certs_dirs, dirs, before })
    }
}

impl PodmanFiles {
    /// Whether a drop-in is read.
    pub(super) fn reads(&self, drop_in: &Path) -> bool {
        let is_dir =
            |dir: &Path| drop_in.parent().is_some_and(|parent| paths::resolved(dir.to_owned()) == parent);
        self.dirs.iter().any(|dir| is_dir(dir))
    }
}

/// A directory's drop-ins in the order in which they are read, without ours.
fn drop_ins(dir: &Path, ours: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "conf") && path != ours);
    found.sort();
    Ok(found)
}
