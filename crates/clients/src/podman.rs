//! podman, buildah and skopeo (containers/image): a drop-in of our own, and the CA for the mirror's address.
//!
//! They read `/etc/containers/registries.conf`, or a user's own in its place, and then the drop-ins of
//! `/etc/containers/registries.conf.d` (only beside the system's file) and of `~/.config/containers/registries.conf.d`,
//! by their names; a table for the same prefix replaces the earlier one whole. They send no `ns`, so the registry is in
//! the mirror's path.

mod tables;

use std::path::{Path, PathBuf};

use hubcap_oci::Registry;

use crate::change::Planned;
use crate::hosts_toml::HEADER;
use crate::journal::Journal;
use crate::{Change, Error, Mirror, file};
use tables::Tables;

/// Last among the drop-ins, so that its tables hold.
const DROP_IN: &str = "zz-hubcap.conf";
/// Every `.crt` there is trusted, so ours needs no place of another's.
const CERTIFICATE: &str = "hubcap.crt";
const SYSTEM: &str = "/etc/containers";

/// Where podman's files are, as far as a user says it.
#[derive(Debug, Clone, Default)]
pub struct PodmanAt {
    /// The drop-ins' directory, `registries.conf.d`.
    pub conf_dir: Option<PathBuf>,
    /// `certs.d`.
    pub certs_dir: Option<PathBuf>,
}

/// The files of podman, buildah and skopeo, for all users or for one.
#[derive(Debug)]
pub struct Podman {
    conf_dir: PathBuf,
    certs_dirs: Vec<PathBuf>,
    /// What is read before our drop-in, in that order.
    before: Vec<PathBuf>,
}

impl Podman {
    /// Root's are the machine's, which other users read too; a user's are the user's own.
    ///
    /// # Errors
    /// [`Error::Client`] when there is no home directory.
    pub fn find(at: &PodmanAt) -> Result<Self, Error> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let Some(own) = home.map(|home| PathBuf::from(home).join(".config/containers")) else {
            return Err(Error::Client(
                "HOME is not set, so podman's files are not found; use --conf-dir and --certs-dir".into(),
            ));
        };
        let system = Path::new(SYSTEM);
        // With a registries.conf of one's own, the machine's files are passed over.
        let replaced = own.join("registries.conf").exists();
        let root = rustix::process::geteuid().is_root();
        let base = if root && !replaced { system } else { &own };
        let conf_dir = at.conf_dir.clone().unwrap_or_else(|| base.join("registries.conf.d"));
        let certs_dirs = match &at.certs_dir {
            Some(dir) => vec![dir.clone()],
            // Ours is made in the first, unless a later one has a directory for the mirror: the user's own, the
            // system's and Docker's are looked through in this order, and only one is read.
            None => {
                let all = [
                    base.join("certs.d"),
                    own.join("certs.d"),
                    system.join("certs.d"),
                    "/etc/docker/certs.d".into(),
                ];
                all.to_vec()
            }
        };
        let main = if replaced { own.join("registries.conf") } else { system.join("registries.conf") };
        let mut before = vec![main];
        let directories = [system.join("registries.conf.d"), own.join("registries.conf.d")];
        for dir in directories.iter().skip(usize::from(replaced)) {
            before.extend(drop_ins(dir, &conf_dir.join(DROP_IN))?);
            if *dir == conf_dir {
                break;
            }
        }
        Ok(Self { conf_dir, certs_dirs, before })
    }

    /// Our drop-in.
    pub fn drop_in(&self) -> PathBuf {
        self.conf_dir.join(DROP_IN)
    }

    /// Our copy of the CA, in the directory that is read for this mirror.
    pub fn certificate(&self, mirror: &Mirror) -> PathBuf {
        let places: Vec<PathBuf> =
            self.certs_dirs.iter().map(|dir| dir.join(mirror.address.to_string())).collect();
        let read = places.iter().skip(1).find(|place| place.exists());
        read.or(places.first()).map(|place| place.join(CERTIFICATE)).unwrap_or_default()
    }

    /// What its users have to know, in sentences.
    pub fn notes() -> Vec<String> {
        vec![
            "A pull takes its blobs from where its manifest came from: when hubcap goes away in the midst of one, that \
             pull fails, and the next goes to the registry itself."
                .to_owned(),
        ]
    }

    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] where a user's file sends one of the registries elsewhere; [`Error::Io`] and
    /// [`Error::Rights`] when files cannot be read.
    pub fn plan(
        &self,
        (journal, mirror): (&Journal, &Mirror),
        registries: &[Registry],
    ) -> Result<Vec<Planned>, Error> {
        let tables = Tables::read(&self.before)?;
        let mut text = HEADER.to_owned();
        for registry in registries {
            text.push_str(&tables.with_mirror(registry, mirror)?);
        }
        let ca = file::read(&mirror.ca)?.ok_or_else(|| {
            let ca = mirror.ca.display();
            Error::Client(format!(
                "{ca} is not there yet: start hubcap serve once, and it makes its certificate"
            ))
        })?;
        let wanted = [(self.drop_in(), text), (self.certificate(mirror), ca)];
        let planned = wanted.into_iter().map(|(path, text)| {
            let original = journal.original(&path, |_| Ok(None))?.filter(|text| !text.starts_with(HEADER));
            Ok((Change::of(path, Some(text))?, original))
        });
        planned.collect()
    }

    /// What taking everything back would change: both files are wholly ours.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Rights`] when files cannot be read.
    pub fn plan_undo(journal: &Journal) -> Result<Vec<Change>, Error> {
        journal.plan_undo(|_, _| Ok(None))
    }
}

/// A directory's drop-ins in the order in which they are read, without ours.
fn drop_ins(dir: &Path, ours: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|kind| kind == "conf") && path != ours);
    found.sort();
    Ok(found)
}
