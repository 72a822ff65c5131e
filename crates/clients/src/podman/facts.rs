//! What podman, buildah and skopeo read. It is the same in all versions that have drop-ins.
//!
//! | what | source |
//! |---|---|
//! | a user's `registries.conf` replaces the machine's file, and the machine's drop-ins with it | containers/image, docs/containers-registries.conf.d.5.md |
//! | then the drop-ins of the machine's and of the user's `registries.conf.d`, by their names | the same |
//! | a table for the same prefix replaces the earlier one whole | the same |
//! | of `certs.d`, the user's, the machine's and Docker's are looked through, and only the first that has a directory for the host is read | containers/image, docker/docker_client.go |
//! | they send no `ns`, so the registry is in the mirror's path | containers/image, pkg/sysregistriesv2 |
//! | blobs come from where their manifest came from | containers/image, docker/docker_image_src.go |

use std::path::{Path, PathBuf};

/// Last among the drop-ins, so that its tables hold.
pub(super) const DROP_IN: &str = "zz-hubcap.conf";
/// Every `.crt` of a host's directory is trusted, so ours needs no place of another's.
pub(super) const CERTIFICATE: &str = "hubcap.crt";
pub(super) const BLOBS_FOLLOW_THEIR_MANIFEST: &str = "A pull takes its blobs from where its manifest came from: when \
     hubcap goes away in the midst of one, that pull fails, and the next goes to the registry itself.";

const SYSTEM: &str = "/etc/containers";
const DOCKERS_CERTS_DIR: &str = "/etc/docker/certs.d";

/// What is read by one user's podman.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The main file.
    pub(super) registries_conf: PathBuf,
    /// The directories of drop-ins, in the order in which they are read.
    pub(super) drop_ins: Vec<PathBuf>,
    /// Where this user's own drop-in goes.
    pub(super) conf_dir: PathBuf,
    /// Where this user's own certificates go, and then those that are read, in their order.
    pub(super) certs_dirs: Vec<PathBuf>,
}

impl Places {
    /// Those of a user whose own files are in `own`. Root's are the machine's, which other users read, too. A user who
    /// has a `registries.conf` does not read the machine's files.
    pub(super) fn new(own: &Path, is_root: bool, has_registries_conf: bool) -> Self {
        let system = Path::new(SYSTEM);
        let base = if is_root && !has_registries_conf { system } else { own };
        let (main, drop_ins) = if has_registries_conf {
            (own, vec![own.join("registries.conf.d")])
        } else {
            (system, vec![system.join("registries.conf.d"), own.join("registries.conf.d")])
        };
        Self {
            registries_conf: main.join("registries.conf"),
            drop_ins,
            conf_dir: base.join("registries.conf.d"),
            certs_dirs: vec![
                base.join("certs.d"),
                own.join("certs.d"),
                system.join("certs.d"),
                DOCKERS_CERTS_DIR.into(),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_files_are_the_machines_and_a_users_are_the_users() {
        let own = Path::new("/home/a/.config/containers");
        let root = Places::new(own, true, false);
        assert_eq!(root.conf_dir, Path::new("/etc/containers/registries.conf.d"));
        assert_eq!(root.certs_dirs[0], Path::new("/etc/containers/certs.d"));
        let user = Places::new(own, false, false);
        assert_eq!(user.conf_dir, own.join("registries.conf.d"));
        assert_eq!(user.registries_conf, Path::new("/etc/containers/registries.conf"));
        assert_eq!(user.drop_ins, root.drop_ins);
    }

    #[test]
    fn a_registries_conf_of_ones_own_replaces_the_machines_files() {
        let own = Path::new("/root/.config/containers");
        for is_root in [true, false] {
            let places = Places::new(own, is_root, true);
            assert_eq!(places.registries_conf, own.join("registries.conf"));
            assert_eq!(places.drop_ins, [own.join("registries.conf.d")]);
            assert_eq!(places.conf_dir, own.join("registries.conf.d"));
        }
    }
}
