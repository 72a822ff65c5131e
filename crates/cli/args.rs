//! The command line, as it is typed. [`crate::settings`] decides what it means together with variables and files.

mod clients;
mod handed_on;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use hubcap_clients::Client;
use hubcap_oci::{ImageRef, Platform};

pub(crate) use clients::{
    DockerFlags, RestartContainerdFlags, RestartFlags, Setup, SetupCluster, SetupDocker, SetupFlags, Unset,
    UnsetContainerd, UnsetDocker, UnsetFlags,
};
pub(crate) use handed_on::for_serve;

use crate::settings::Settings;

/// A caching registry proxy: dockerd pulls through it, and one CI job restores the store of another.
#[derive(Debug, Parser)]
#[command(name = "hubcap", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon: answer pulls from the store, otherwise from the registry
    Serve(Serve),
    /// Fill the store with images, without Docker
    Pull(Pull),
    /// List the images in the store
    Ls(Ls),
    /// Check every file in the store against its digest
    Verify(Verify),
    /// Remove images until the store is within its limits, the least recently used first
    Gc(Gc),
    /// Remove what the next job does not need: private and unused images
    Trim(Trim),
    /// Print a key of the store's content, the same on every machine
    Key(Key),
    /// Write an image to a file for docker load or podman load
    Export(Export),
    /// Read images from files of docker save or podman save into the store
    Import(Import),
    /// Write the digests of tags to a lock file, for `serve --frozen`
    Lock(Lock),
    /// Check whether the daemon answers; exit 0 if it does
    Health(Health),
    /// Start the daemon, configure dockerd to pull through it, and prove it with a pull
    Up(Up),
    /// Restore the clients' files, stop the daemon unless others still need it, and report the time and bytes saved
    Down(Down),
    /// Internal; the action calls it: write the job summary from a report of `down`
    #[command(hide = true)]
    Summary(Summary),
    /// Show which pulls use hubcap, which do not, and how to fix that; exit 0 if everything that was set up works
    Doctor(Doctor),
    /// Unpack layers for containerd, as one of its differs: faster than it does itself
    Differ(Differ),
    /// Configure a client to pull through hubcap
    #[command(subcommand)]
    Setup(Setup),
    /// Restore a client's files as they were before setup
    #[command(subcommand)]
    Unset(Unset),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Check the settings, print them as a file, and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// Internal; `up` sets it: run in a session of its own, which outlives the terminal
    #[arg(long, hide = true)]
    pub(crate) background: bool,
    /// Internal; `up` sets it: standard input says where the job's cache is
    #[arg(long, hide = true)]
    pub(crate) job_cache: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Differ {
    /// Listen on this Unix socket, which only this user may open; an old one that nobody listens on is replaced. With "-",
    /// standard input is the listening socket, as systemd passes it (StandardInput=socket)
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) socket: PathBuf,
    /// Read layers from containerd's content store in this directory (default: the one that has the snapshots, else
    /// /var/lib/containerd)
    #[arg(long, value_name = "DIR")]
    pub(crate) containerd_root: Option<PathBuf>,
    /// End the differ that listens on this socket, once it has unpacked what it has begun. Nothing to end is no error
    #[arg(long, conflicts_with = "containerd_root")]
    pub(crate) end: bool,
    /// Internal; `up` sets it: run in a session of its own, which outlives the terminal
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    #[command(flatten)]
    pub(crate) restart: RestartFlags,
    /// Configure only these clients: docker, containerd, buildkit, podman (default: docker; also podman and containerd if
    /// they are installed and would use hubcap, unless a dockerd elsewhere is named)
    #[arg(long, value_name = "CLIENT", value_parser = hubcap_clients::named)]
    pub(crate) client: Vec<Arc<dyn Client>>,
    /// Switch dockerd 24 to 28 to this image store until `down`: containerd unpacks in about half the time. Needs --restart or
    /// --restart-command, and is refused while images or containers exist, which would be out of sight
    #[arg(long, value_name = "STORE")]
    pub(crate) image_store: Option<ImageStore>,
    /// Switch although images or containers exist; they are there again after `down`
    #[arg(long, requires = "image_store")]
    pub(crate) force: bool,
    /// Have dockerd's containerd unpack with hubcap's differ until `down` or the next boot, if its image store is containerd's.
    /// containerd is restarted, and containers go on. If it cannot be made sure, a warning says why
    #[arg(long)]
    pub(crate) unpack: bool,
    #[command(flatten)]
    pub(crate) containerd: RestartContainerdFlags,
    /// Carry contents from job to job in GitHub's cache, under this key; of further keys the first that has something is read
    /// (default: none; needs the variables that GitHub gives to actions)
    #[arg(long, value_name = "KEY")]
    pub(crate) cache_key: Vec<String>,
    /// Only print what would be changed, as a diff
    #[arg(long)]
    pub(crate) print: bool,
}

/// An image store that dockerd can be switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ImageStore {
    /// containerd's, the default of new installations since dockerd 29
    Containerd,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    #[command(flatten)]
    pub(crate) restart: RestartFlags,
    #[command(flatten)]
    pub(crate) containerd: RestartContainerdFlags,
    /// Restart nothing, which takes seconds, because the machine is thrown away: until then dockerd keeps the image store of
    /// --image-store, and containerd hubcap's differ
    #[arg(long, conflicts_with_all = ["restart", "restart_command", "restart_containerd"])]
    pub(crate) no_restart: bool,
    /// Internal; the action sets it: write what the job summary is made of to this file, and no summary yet
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Report whether the store has changed since it had this key (default: the key at the daemon's start)
    #[arg(long, value_name = "KEY")]
    pub(crate) since: Option<String>,
    /// Trim the store to the images that this run used, without private ones (default: if it is in $GITHUB_WORKSPACE)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) trim: Option<bool>,
    /// Keep private images, which a registry serves only with a login
    #[arg(long)]
    pub(crate) keep_private: bool,
    /// Do not print the report if there is no $GITHUB_STEP_SUMMARY
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Also end what others still need: every client's files are restored, and the daemon is stopped
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Summary {
    /// What `down --report` has written
    #[arg(value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Seconds that hubcap's first step took
    #[arg(long, value_name = "SECONDS")]
    pub(crate) start: Option<f64>,
    /// Seconds that hubcap's last step took
    #[arg(long, value_name = "SECONDS")]
    pub(crate) end: f64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// Print JSON: an object with the findings
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Platform to pull, for example linux/arm64; repeat it for several (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
    /// Images, named as for `docker pull`
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// The store (default: as for serve)
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON: an array of images
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Quarantine damaged files and download them again
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Only print what would be removed, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove private images, which a registry serves only with a login, instead of images over the limits
    #[arg(long)]
    pub(crate) private: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trim {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Remove images that were not used since the daemon last started, and unused platforms of used images
    #[arg(long)]
    pub(crate) used_in_this_run: bool,
    /// Keep private images, which a registry serves only with a login
    #[arg(long)]
    pub(crate) keep_private: bool,
    /// Only print what would be removed, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    /// The store (default: as for serve)
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The image, named as for `docker pull`; hubcap downloads what the store does not have
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ImageRef,
    /// The file to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The format
    #[arg(long, value_enum, default_value_t = ExportFormat::DockerArchive)]
    pub(crate) format: ExportFormat,
    /// Platform to export, for example linux/arm64 (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// As docker save writes it: for docker load and podman load
    DockerArchive,
    /// An OCI layout in a tar: for podman load, and docker load with containerd's image store
    OciArchive,
}

impl From<ExportFormat> for hubcap_store::Format {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::DockerArchive => Self::DockerArchive,
            ExportFormat::OciArchive => Self::OciArchive,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The image's name, instead of the one in the file
    #[arg(long, short, value_name = "IMAGE")]
    pub(crate) tag: Option<ImageRef>,
    /// Archives of docker save, podman save or hubcap export; OCI layouts, as directories or in a tar
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// The file to write, or to compare with
    #[arg(long, short, value_name = "FILE", default_value = "hubcap.lock")]
    pub(crate) output: PathBuf,
    /// Only compare: print the differences, and exit 1 if there are any
    #[arg(long)]
    pub(crate) check: bool,
    /// Lock all tags in the store, not only those used since the daemon last started
    #[arg(long, conflicts_with = "images")]
    pub(crate) all: bool,
    /// Lock only these images
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) settings: Settings,
}
