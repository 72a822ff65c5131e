//! The tools that make clusters of containers, and how their nodes are known.
//!
//! | what | source |
//! |---|---|
//! | kind's labels; nodes beside the control planes and the workers pull nothing | kind, pkg/cluster/constants/constants.go |
//! | kind's node images name a `config_path` since 0.27 | kind, site/static/examples/kind-with-registry.sh |
//! | k3d's labels and roles | k3d, pkg/types/types.go |
//! | k3s has its containerd's files there, and keeps the directories of `certs.d` that it has not made itself | k3s, pkg/agent/containerd/config.go, `cleanContainerdHosts` |
//! | minikube's labels; its node image names a `config_path` | minikube, pkg/drivers/kic/oci/types.go, deploy/kicbase/containerd.toml |

use std::collections::BTreeMap;

/// A tool that makes clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// kind.
    Kind,
    /// k3d: k3s in containers.
    K3d,
    /// minikube, with its driver `docker`.
    Minikube,
}

impl Cluster {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kind, Self::K3d, Self::Minikube];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cluster| cluster.name() == name)
    }

    /// Its name, as a user types it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::K3d => "k3d",
            Self::Minikube => "minikube",
        }
    }

    /// The command that makes a cluster.
    pub const fn create(self) -> &'static str {
        match self {
            Self::Kind => "kind create cluster",
            Self::K3d => "k3d cluster create",
            Self::Minikube => "minikube start --driver=docker",
        }
    }

    /// The label of its containers.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Kind => "io.x-k8s.kind.cluster",
            Self::K3d => "k3d.cluster",
            Self::Minikube => "name.minikube.sigs.k8s.io",
        }
    }

    /// Whether a container with these labels is a node. Load balancers and registries are none.
    pub(super) fn has_node(self, labels: &BTreeMap<String, String>) -> bool {
        let is = |label: &str, roles: [&str; 2]| {
            labels.get(label).is_some_and(|role| roles.contains(&role.as_str()))
        };
        match self {
            Self::Kind => is("io.x-k8s.kind.role", ["control-plane", "worker"]),
            Self::K3d => is("k3d.role", ["server", "agent"]),
            Self::Minikube => true,
        }
    }

    /// The configuration of containerd in a node.
    pub(super) const fn containerd_config(self) -> &'static str {
        match self {
            Self::Kind | Self::Minikube => "/etc/containerd/config.toml",
            Self::K3d => "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        }
    }
}
