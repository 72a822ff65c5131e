//! What pulls in a node, and which of the node's files are written with what.
//!
//! | what | source |
//! |---|---|
//! | `/etc/crictl.yaml` of minikube names the runtime that Kubernetes uses | minikube, pkg/minikube/cruntime/cri.go, `populateCRIConfig` |
//! | Kubernetes' pulls by dockerd (cri-dockerd) have dockerd's mirrors | cri-dockerd, core/image.go |
//! | dockerd with its own image store takes a mirror's CA from `certs.d/ADDR:PORT/ca.crt` | moby, daemon/pkg/registry |

use std::path::{Path, PathBuf};

use hubcap_oci::Registry;

use super::node::Node;
use super::tool::Cluster;
use crate::certs_dir::hosts_tomls;
use crate::containerd::{Cri, FoundContainerd, parse_version};
use crate::docker::facts::{self, Feature};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::daemon_json::DaemonJson;
use crate::format::hosts_toml::{self, Capabilities};
use crate::mirror::{Mirror, Registries};
use crate::version;

/// The file of the client of Kubernetes' runtimes.
const CRICTL: &str = "/etc/crictl.yaml";
/// The files of dockerd.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const DOCKER_CERTS: &str = "/etc/docker/certs.d";

/// What pulls in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runtime {
    Containerd { certs_dir: PathBuf, capabilities: Capabilities },
    Dockerd { capabilities: Capabilities },
}

/// A file of a node that is to be written.
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) kind: FileKind,
    contents: Contents,
}

/// What is written into it.
enum Contents {
    Hosts(Mirror, Capabilities),
    Authority(Option<String>),
    DaemonJson(Mirror),
}

impl Runtime {
    /// Finds it out.
    ///
    /// # Errors
    /// [`Error::Client`] for a runtime that reads no `hosts.toml`, with what to do.
    pub(super) fn of(node: &Node, cluster: Cluster) -> Result<Self, Error> {
        let crictl = match cluster {
            Cluster::Minikube => node.read(Path::new(CRICTL))?.unwrap_or_default(),
            Cluster::Kind | Cluster::K3d => String::new(),
        };
        if crictl.contains("dockerd") || crictl.contains("dockershim") {
            let version = node.tell(&["dockerd", "--version"]).ok().and_then(|told| parse_version(&told));
            let knows_referrers = version::has(&facts::FACTS, &Feature::ReferrersCapability, version);
            return Ok(Self::Dockerd { capabilities: Capabilities::of(knows_referrers) });
        }
        if crictl.contains("crio") {
            let why = "pulls with CRI-O, which hubcap does not configure: minikube start --container-runtime=containerd";
            return Err(Error::Client(format!("the node {} {why}", node.name)));
        }
        let config = PathBuf::from(cluster.containerd_config());
        let text = node.read(&config)?;
        let version = node.tell(&["containerd", "--version"]).ok().and_then(|told| parse_version(&told));
        let found = FoundContainerd::new(config, None, (text.as_deref(), version))?;
        match found.cri {
            Cri::Not { plugin } => Err(without_directory(node, cluster, (plugin, &found.certs_dir))),
            _ => Ok(Self::Containerd { certs_dir: found.certs_dir, capabilities: found.capabilities }),
        }
    }

    /// The files to write for a mirror, which the node reaches.
    ///
    /// # Errors
    /// [`Error::Client`] when the CA's certificate cannot be used.
    pub(super) fn wanted(&self, mirror: &Mirror, registries: &Registries) -> Result<Vec<Wanted>, Error> {
        let (certs_dir, ca, capabilities) = match self {
            Self::Containerd { certs_dir, capabilities } => {
                (certs_dir.clone(), certs_dir.with_file_name("hubcap-ca.crt"), *capabilities)
            }
            Self::Dockerd { capabilities } => {
                let certs_dir = PathBuf::from(DOCKER_CERTS);
                let ca = certs_dir.join(mirror.address.to_string()).join("ca.crt");
                (certs_dir, ca, *capabilities)
            }
        };
        let authority = Contents::Authority(mirror.ca.pem()?.map(str::to_owned));
        let in_node = Mirror { address: mirror.address, ca: mirror.ca.at(ca.clone()) };
        // The CA comes first: a hosts.toml that names a missing one fails a pull.
        let mut wanted = vec![Wanted { path: ca, kind: FileKind::Certificate, contents: authority }];
        wanted.extend(hosts_tomls(&certs_dir, registries).into_iter().map(|path| Wanted {
            path,
            kind: FileKind::HostsToml,
            contents: Contents::Hosts(in_node.clone(), capabilities),
        }));
        if matches!(self, Self::Dockerd { .. }) && registries.named.iter().any(Registry::is_docker_hub) {
            wanted.push(Wanted {
                path: DAEMON_JSON.into(),
                kind: FileKind::DaemonJson,
                contents: Contents::DaemonJson(in_node),
            });
        }
        Ok(wanted)
    }
}

impl Wanted {
    /// Its text, made from the text without hubcap's part.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a file that cannot be merged with.
    pub(super) fn text(&self, original: Option<&str>) -> Result<Option<String>, Error> {
        match &self.contents {
            Contents::Hosts(mirror, capabilities) => {
                hosts_toml::with_mirror(&self.path, original, mirror, *capabilities).map(Some)
            }
            Contents::Authority(text) => Ok(text.clone()),
            Contents::DaemonJson(mirror) => {
                let json = DaemonJson::parse(&self.path, original)?.with_first(&self.path, mirror)?;
                Ok(json.map(|json| json.to_string()).or_else(|| original.map(str::to_owned)))
            }
        }
    }
}

/// The error for a node whose containerd reads no `certs.d`.
fn without_directory(node: &Node, cluster: Cluster, (plugin, certs_dir): (&str, &Path)) -> Error {
    let (name, dir) = (&node.name, certs_dir.display());
    let how = match cluster {
        Cluster::Kind => format!(
            "Use a node image of kind 0.27 or later, or make the cluster with this in its configuration:\n\
             containerdConfigPatches:\n- |-\n  [plugins.\"{plugin}\".registry]\n    config_path = \"{dir}\""
        ),
        Cluster::K3d => "Use an image of k3s of 2024 or later".to_owned(),
        Cluster::Minikube => "Make the cluster with a newer minikube".to_owned(),
    };
    Error::Client(format!(
        "containerd in the node {name} has no config_path, so it reads no hosts.toml. {how}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn a_node_with_dockerd_has_dockerds_files_and_the_ca_before_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = dir.path().join("ca.pem");
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        std::fs::write(&ca, pem).expect("written");
        let mirror = Mirror::new("172.18.0.1:5443".parse().expect("an address"), Authority::read(ca));
        let registries = vec![Registry::docker_hub(), "ghcr.io".parse().expect("a name")].into();
        let capabilities = Capabilities::PullAndResolve;
        let wanted = |runtime: Runtime| runtime.wanted(&mirror, &registries).expect("the CA is there");
        let dockerd = wanted(Runtime::Dockerd { capabilities });
        let paths: Vec<&str> = dockerd.iter().filter_map(|one| one.path.to_str()).collect();
        assert_eq!(
            paths,
            [
                "/etc/docker/certs.d/172.18.0.1:5443/ca.crt",
                "/etc/docker/certs.d/docker.io/hosts.toml",
                "/etc/docker/certs.d/ghcr.io/hosts.toml",
                "/etc/docker/daemon.json",
            ]
        );
        assert_eq!(dockerd[0].text(None).expect("text").as_deref(), Some(pem));
        let text = |one: &Wanted, original| one.text(original).expect("text").expect("a file");
        assert!(text(&dockerd[1], None).contains(&format!("ca = \"{}\"", paths[0])));
        let json = text(&dockerd[3], Some("{\"debug\": true}"));
        assert!(json.contains("\"debug\": true") && json.contains("https://172.18.0.1:5443"), "{json}");
        assert_eq!(text(&dockerd[3], Some(&json)), json, "a user has written it");
        let containerd = wanted(Runtime::Containerd { certs_dir: "/k3s/certs.d".into(), capabilities });
        assert_eq!(containerd[0].path, Path::new("/k3s/hubcap-ca.crt"));
        assert_eq!(containerd.len(), 3);
    }
}
