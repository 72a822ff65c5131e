//! The command line, as it is typed. [`crate::settings`] decides what it means together with variables and files.

mod clients;
mod handed_on;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use hubcap_clients::Client;
use hubcap_oci::{ImageRef, Platform};

pub(crate) use clients::{DockerFlags, Setup, SetupDocker, SetupFlags, Unset, UnsetDocker, UnsetFlags};
pub(crate) use handed_on::for_serve;

use crate::settings::Settings;

/// A caching registry proxy for CI: dockerd pulls through it, and its store can be carried from job to job.
#[derive(Debug, Parser)]
#[command(name = "hubcap", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Answer pulls: from the store, else from the upstream
    Serve(Serve),
    /// Fill the store with images, without any Docker
    Pull(Pull),
    /// List the images in the store
    Ls(Ls),
    /// Read every content in the store and compare it with its digest
    Verify(Verify),
    /// Remove images until the store is within its limits, the least recently used first
    Gc(Gc),
    /// Remove what the next job does not need: what is private, and what was not used
    Trim(Trim),
    /// Print a key for actions/cache: the same contents have the same key on every machine
    Key(Key),
    /// Write an image to a file for docker load or podman load
    Export(Export),
    /// Read images from files of docker save or podman save into the store
    Import(Import),
    /// Write the digests of tags to a lock file, for `serve --frozen`
    Lock(Lock),
    /// Check whether the daemon answers: exit with 0 when it does
    Health(Health),
    /// Start the daemon, configure dockerd to pull through it, and prove it with a pull
    Up(Up),
    /// Restore dockerd's files, stop the daemon, and report the time and bytes saved
    Down(Down),
    /// Show which pulls use hubcap, which do not, and how to fix that; exit with 0 when all that was set up works
    Doctor(Doctor),
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
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// Configure these only: docker, containerd, buildkit, podman (default: docker; where none of its places is given,
    /// also podman and containerd where they are installed and would use it)
    #[arg(long, value_name = "CLIENT", value_parser = hubcap_clients::named)]
    pub(crate) client: Vec<Arc<dyn Client>>,
    /// Only print what would be changed, as a diff
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// How long restoring the store took, for the report
    #[arg(long, value_name = "SECONDS")]
    pub(crate) restored_in: Option<f64>,
    /// Report whether the store has changed since it had this key (default: the key at the daemon's start)
    #[arg(long, value_name = "KEY")]
    pub(crate) since: Option<String>,
    /// Trim the store to what this run used, without what is private (default: where it is in $GITHUB_WORKSPACE)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) trim: Option<bool>,
    /// Keep private contents: those that registries give only to a login
    #[arg(long)]
    pub(crate) keep_private: bool,
    /// Do not print the report where there is no $GITHUB_STEP_SUMMARY
    #[arg(long)]
    pub(crate) quiet: bool,
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
    /// Platform to pull, as linux/arm64; repeat it for several (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
    /// Images, named as for `docker pull`
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
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
    /// Quarantine damaged contents and fetch them again
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
    /// Remove private contents (those that registries give only to a login), instead of what is over the limits
    #[arg(long)]
    pub(crate) private: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trim {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Remove what was not used since the daemon last started, also other platforms of images that were used
    #[arg(long)]
    pub(crate) used_in_this_run: bool,
    /// Keep private contents: those that registries give only to a login
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
    /// The image, named as for `docker pull`; what the store does not have is fetched
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ImageRef,
    /// The file to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The format
    #[arg(long, value_enum, default_value_t = ExportFormat::DockerArchive)]
    pub(crate) format: ExportFormat,
    /// Platform to export, as linux/arm64 (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// As docker save writes it: for docker load and podman load
    DockerArchive,
    /// An OCI layout in a tar: for podman load, and docker load since Docker 25
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
    /// Only compare: print what differs, and exit with 1 when something does
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
