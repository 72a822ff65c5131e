//! Every client that hubcap knows.

use std::sync::Arc;

use crate::buildkit::Buildkit;
use crate::client::Client;
use crate::containerd::Containerd;
use crate::docker::Docker;
use crate::podman::Podman;

/// Every client, with its files at their usual places. A new client is a module, and a line here.
pub fn all() -> Vec<Arc<dyn Client>> {
    vec![
        Arc::new(Docker::default()),
        Arc::new(Containerd::default()),
        Arc::new(Buildkit::default()),
        Arc::new(Podman::default()),
    ]
}

/// The client of this name, with its files at their usual places.
///
/// # Errors
/// A sentence that names all clients, where there is none of this name.
pub fn named(name: &str) -> Result<Arc<dyn Client>, String> {
    let all = all();
    let names: Vec<&str> = all.iter().map(|client| client.name()).collect();
    let unknown = format!("{name:?} is none of {}", names.join(", "));
    all.into_iter().find(|client| client.name() == name).ok_or(unknown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use hubcap_oci::Registry;

    use super::*;
    use crate::authority::Authority;
    use crate::{Journal, Mirror, Registries};

    /// Every client, with its files in `root`.
    fn in_root(root: &Path) -> Vec<Arc<dyn Client>> {
        let at = |path: &str| Some(root.join(path));
        vec![
            Arc::new(Docker {
                // Nobody answers there.
                host: Some(format!("unix://{}", root.join("docker.sock").display())),
                daemon_json: at("docker/daemon.json"),
                certs_dir: at("docker/certs.d"),
            }),
            Arc::new(Containerd {
                config: at("containerd/config.toml"),
                certs_dir: at("containerd/certs.d"),
            }),
            Arc::new(Buildkit { configs: vec![root.join("buildkit/buildkitd.toml")] }),
            Arc::new(Podman {
                conf_dir: at("containers/registries.conf.d"),
                certs_dir: at("containers/certs.d"),
            }),
        ]
    }

    /// What a user has: comments, spaces and hosts that have to come back.
    const THEIRS: [(&str, &str); 3] = [
        ("docker/daemon.json", "{\n\t\"debug\":   true\n}"),
        ("containerd/certs.d/docker.io/hosts.toml", "# mine\n[host.\"https://office\"]  # the office\n"),
        ("buildkit/buildkitd.toml", "# loud\ndebug=true\n[registry.\"docker.io\"]\nmirrors=['a']"),
    ];

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Every file and directory below, by its path.
    fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                found.extend(tree(&path));
                found.insert(path, None);
            } else {
                let bytes = std::fs::read(&path).expect("readable");
                found.insert(path, Some(bytes));
            }
        }
        found
    }

    struct Place {
        root: tempfile::TempDir,
        state: tempfile::TempDir,
        mirror: Mirror,
        registries: Registries,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a directory");
            for (path, text) in THEIRS {
                write(&root.path().join(path), text);
            }
            let state = tempfile::tempdir().expect("a directory");
            let ca = state.path().join("ca.pem");
            write(&ca, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
            let mirror = Mirror::new("127.0.0.1:5443".parse().expect("an address"), Authority::read(ca));
            let registries = vec![Registry::docker_hub(), "ghcr.io".parse().expect("a name")].into();
            Self { root, state, mirror, registries }
        }

        fn journal(&self, client: &dyn Client) -> Journal {
            Journal::open(self.state.path(), client.name()).expect("a journal")
        }

        fn configure(&self, client: &dyn Client) {
            let mut journal = self.journal(client);
            let plan = client.plan(&journal, &self.mirror, &self.registries).expect("planned");
            assert!(plan.iter().any(|planned| !planned.change.is_empty()), "{}", client.name());
            client.configure(&mut journal, &self.mirror, &plan).expect("configured");
        }
    }

    #[test]
    fn every_client_is_configured_and_undone_to_the_byte() {
        let place = Place::new();
        for client in in_root(place.root.path()) {
            let before = tree(place.root.path());
            place.configure(&*client);
            let changed = tree(place.root.path());
            assert_ne!(changed, before, "{}", client.name());
            let mut journal = place.journal(&*client);
            let changes = client.undo(&mut journal).expect("undone");
            assert!(changes.iter().all(|change| !change.is_empty()) && journal.is_empty());
            assert_eq!(tree(place.root.path()), before, "{}", client.name());
        }
    }

    #[test]
    fn every_client_is_configured_twice_as_once() {
        let place = Place::new();
        for client in in_root(place.root.path()) {
            place.configure(&*client);
            let once = tree(place.root.path());
            let mut journal = place.journal(&*client);
            let plan = client.plan(&journal, &place.mirror, &place.registries).expect("planned");
            assert!(plan.iter().all(|planned| planned.change.is_empty()), "{plan:?}");
            client.configure(&mut journal, &place.mirror, &plan).expect("configured");
            assert_eq!(tree(place.root.path()), once, "{}", client.name());
        }
    }

    #[test]
    fn a_client_is_named_as_a_user_types_it() {
        for client in all() {
            assert_eq!(named(client.name()).expect("known").title(), client.title());
        }
        let error = named("dockerd").expect_err("no client's name");
        assert_eq!(error, "\"dockerd\" is none of docker, containerd, buildkit, podman");
    }
}
