//! The flags of `setup` and `unset` for each client.

use std::path::PathBuf;

use clap::Subcommand;
use hubcap_clients::{Buildkit, Containerd, Docker, Podman};
use hubcap_oci::Registry;

use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum Setup {
    /// dockerd: registry-mirrors in daemon.json, and certs.d/REGISTRY/hosts.toml
    Docker(SetupDocker),
    /// containerd: certs.d/REGISTRY/hosts.toml
    Containerd(SetupContainerd),
    /// BuildKit's own builders: buildkitd.toml
    Buildkit(SetupBuildkit),
    /// podman, buildah and skopeo: a file in registries.conf.d, and the CA
    Podman(SetupPodman),
    /// The nodes of kind's clusters: certs.d/REGISTRY/hosts.toml and the CA, in each
    Kind(SetupCluster),
    /// The nodes of k3d's clusters: certs.d/REGISTRY/hosts.toml and the CA, in each
    K3d(SetupCluster),
    /// The nodes of minikube's clusters, with its driver docker: hosts.toml, daemon.json and the CA, in each
    Minikube(SetupCluster),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Unset {
    /// dockerd
    Docker(UnsetDocker),
    /// containerd
    Containerd(UnsetContainerd),
    /// BuildKit's own builders
    Buildkit(UnsetFlags),
    /// podman, buildah and skopeo
    Podman(UnsetFlags),
    /// The nodes of kind's clusters
    Kind(UnsetFlags),
    /// The nodes of k3d's clusters
    K3d(UnsetFlags),
    /// The nodes of minikube's clusters
    Minikube(UnsetFlags),
}

impl Setup {
    pub(crate) const fn flags(&self) -> &SetupFlags {
        match self {
            Self::Docker(flags) => &flags.setup,
            Self::Containerd(flags) => &flags.setup,
            Self::Buildkit(flags) => &flags.setup,
            Self::Podman(flags) => &flags.setup,
            Self::Kind(flags) | Self::K3d(flags) | Self::Minikube(flags) => &flags.setup,
        }
    }
}

impl Unset {
    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::Docker(flags) => &flags.unset.settings,
            Self::Containerd(flags) => &flags.unset.settings,
            Self::Buildkit(flags)
            | Self::Podman(flags)
            | Self::Kind(flags)
            | Self::K3d(flags)
            | Self::Minikube(flags) => &flags.settings,
        }
    }
}

/// What every client's `setup` has.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupFlags {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Only print what would be changed, as a diff
    #[arg(long)]
    pub(crate) print: bool,
    /// Write the files although hubcap does not run yet, for an image or a unit that starts it later. Without this flag hubcap
    /// must answer at its address, with a certificate of its CA
    #[arg(long)]
    pub(crate) unchecked: bool,
    /// Registries, for example ghcr.io (default: Docker Hub and the configured registries); Docker Hub is docker.io
    #[arg(value_name = "REGISTRY")]
    pub(crate) registries: Vec<Registry>,
}

/// What every client's `unset` has; which files it is about is written down.
#[derive(Debug, clap::Args)]
pub(crate) struct UnsetFlags {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Only print what would be changed, as a diff
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupDocker {
    #[command(flatten)]
    pub(crate) setup: SetupFlags,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// Cover every other registry too, with _default/hosts.toml
    #[arg(long)]
    pub(crate) all: bool,
    /// Use hubcap's HTTP proxy (--proxy-listen) for the named registries, not hosts.toml: for a dockerd that reads no
    /// hosts.toml. It takes effect when dockerd restarts; from then on these pulls fail while hubcap does not run
    #[arg(long, requires = "registries")]
    pub(crate) proxy: bool,
    #[command(flatten)]
    pub(crate) restart: RestartFlags,
    /// systemd's drop-in for a dockerd before 23 (default: /etc/systemd/system/docker.service.d/hubcap-proxy.conf)
    #[arg(long, value_name = "FILE")]
    pub(crate) drop_in: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnsetDocker {
    #[command(flatten)]
    pub(crate) unset: UnsetFlags,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    #[command(flatten)]
    pub(crate) restart: RestartFlags,
}

/// How dockerd is restarted, where that is needed: it reads its proxy, its image store, and before 25 the mirrors of
/// builds, only when it starts.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct RestartFlags {
    /// Restart dockerd if that is needed: with systemd if dockerd is a unit, otherwise as its process was started. Its
    /// containers stop, unless it has live-restore
    #[arg(long)]
    pub(crate) restart: bool,
    /// Restart dockerd with this command if that is needed, for example 'service docker restart'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restart_command: Option<String>,
}

impl RestartFlags {
    pub(crate) fn is_wanted(&self) -> bool {
        self.restart || self.restart_command.is_some()
    }
}

/// How containerd is restarted, to unpack with hubcap's differ and by itself again.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct RestartContainerdFlags {
    /// Restart containerd with this command, for --unpack, for example 'service containerd restart' (default: with systemd if
    /// it is a unit, otherwise as its process was started)
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restart_containerd: Option<String>,
}

/// Which dockerd; what is not said is found out from the one that runs.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct DockerFlags {
    /// dockerd's socket (default: $DOCKER_HOST, otherwise that of Docker's context, otherwise unix:///var/run/docker.sock or a rootless one)
    #[arg(long, value_name = "unix://PATH")]
    pub(crate) docker_host: Option<String>,
    /// Its daemon.json (default: the one that it reads)
    #[arg(long, value_name = "FILE")]
    pub(crate) daemon_json: Option<PathBuf>,
    /// Its certs.d (default: /etc/docker/certs.d, or ~/.config/docker/certs.d of a rootless one)
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupContainerd {
    #[command(flatten)]
    pub(crate) setup: SetupFlags,
    #[command(flatten)]
    pub(crate) containerd: ContainerdFlags,
    /// Cover every other registry too, with _default/hosts.toml
    #[arg(long)]
    pub(crate) all: bool,
    /// Have the machine's containerd unpack layers with hubcap's differ, a service of systemd's, until `unset`, also after a
    /// reboot. containerd is restarted: containers go on, and pulls that are under way fail
    #[arg(long)]
    pub(crate) unpack: bool,
    #[command(flatten)]
    pub(crate) restart: RestartContainerdFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnsetContainerd {
    #[command(flatten)]
    pub(crate) unset: UnsetFlags,
    #[command(flatten)]
    pub(crate) restart: RestartContainerdFlags,
}

/// Which containerd.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct ContainerdFlags {
    /// Its config.toml, which this only reads (default: /etc/containerd/config.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) containerd_config: Option<PathBuf>,
    /// Its certs.d (default: its config_path, otherwise /etc/containerd/certs.d)
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupBuildkit {
    #[command(flatten)]
    pub(crate) setup: SetupFlags,
    /// A buildkitd.toml; repeat it for several (default: buildx's for new builders,
    /// ~/.docker/buildx/buildkitd.default.toml, and /etc/buildkit/buildkitd.toml if /etc/buildkit exists)
    #[arg(long, value_name = "FILE")]
    pub(crate) buildkitd_toml: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupPodman {
    #[command(flatten)]
    pub(crate) setup: SetupFlags,
    #[command(flatten)]
    pub(crate) podman: PodmanFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetupCluster {
    #[command(flatten)]
    pub(crate) setup: SetupFlags,
    /// Cover every other registry too, with _default/hosts.toml
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which files of podman, buildah and skopeo.
#[derive(Debug, Default, Clone, clap::Args)]
pub(crate) struct PodmanFlags {
    /// registries.conf.d (default: /etc/containers/registries.conf.d for root, otherwise
    /// ~/.config/containers/registries.conf.d)
    #[arg(long, value_name = "DIR")]
    pub(crate) conf_dir: Option<PathBuf>,
    /// certs.d (default: beside registries.conf.d, unless another one has a directory for hubcap's address)
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,
}

impl DockerFlags {
    pub(crate) fn client(&self) -> Docker {
        Docker {
            host: self.docker_host.clone(),
            daemon_json: self.daemon_json.clone(),
            certs_dir: self.certs_dir.clone(),
        }
    }
}

impl SetupContainerd {
    pub(crate) fn client(&self) -> Containerd {
        Containerd {
            config: self.containerd.containerd_config.clone(),
            certs_dir: self.containerd.certs_dir.clone(),
        }
    }
}

impl SetupBuildkit {
    pub(crate) fn client(&self) -> Buildkit {
        Buildkit { configs: self.buildkitd_toml.clone() }
    }
}

impl SetupPodman {
    pub(crate) fn client(&self) -> Podman {
        Podman { conf_dir: self.podman.conf_dir.clone(), certs_dir: self.podman.certs_dir.clone() }
    }
}
