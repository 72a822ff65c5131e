//! The command line, as it is typed; what it means together with variables and files is [`crate::settings`]'s.

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

/// A caching registry proxy for CI: dockerd pulls through it, and what it pulled stays in a store that can be carried
/// from job to job.
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
    /// Read every content in the store and compare it with its name
    Verify(Verify),
    /// Remove what is over the size limits, the least recently used first
    Gc(Gc),
    /// Keep only what is worth carrying to the next job: what was used, and nothing private
    Trim(Trim),
    /// Print a key of the store's content, for a cache: the same content has the same key everywhere
    Key(Key),
    /// Write an image to a file that docker load and podman load take
    Export(Export),
    /// Take images out of files, as docker save and podman save write them
    Import(Import),
    /// Write down which digests the tags of images mean, for `serve --frozen`
    Lock(Lock),
    /// Exit with 0 when the daemon answers
    Health(Health),
    /// Start the daemon in the background, have dockerd pull through it, and prove that it does
    Up(Up),
    /// Leave dockerd as it was before `up`, stop the daemon, and tell what the cache was worth
    Down(Down),
    /// Tell which pulls go through hubcap, which do not and why, and what mends it; 0 when all that was set up works
    Doctor(Doctor),
    /// Write hubcap into a client's files
    #[command(subcommand)]
    Setup(Setup),
    /// Take hubcap out of a client's files, which are as they were then
    #[command(subcommand)]
    Unset(Unset),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Check the configuration, print what would be used, and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// In a session of its own, which no terminal's end ends; `up` starts it so
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
    /// Only show what would be changed in which file, as a diff
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// What bringing the store to this machine took, for the account of what it was worth
    #[arg(long, value_name = "SECONDS")]
    pub(crate) restored_in: Option<f64>,
    /// Whether the store has changed since it had this key (default: the one that it had at the start)
    #[arg(long, value_name = "KEY")]
    pub(crate) since: Option<String>,
    /// Leave in the store what this run used, and nothing private (default: where the store is in $GITHUB_WORKSPACE)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) trim: Option<bool>,
    /// Keep what registries give only to a login
    #[arg(long)]
    pub(crate) keep_private: bool,
    /// Do not print the account where there is no $GITHUB_STEP_SUMMARY for it
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) docker: DockerFlags,
    /// For programs: an object with the findings
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// What to pull for, as linux/arm64; several times for several (default: this machine's)
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<Platform>,
    /// Images, as `docker pull` takes them
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// The store (default: as for serve)
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// For programs: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Put damaged contents aside and fetch them again
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Only say what would go, and why
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove what registries give only to a login, instead of what is over the limits
    #[arg(long)]
    pub(crate) private: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trim {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Remove what was not used since the daemon started last, other platforms of what was used among it
    #[arg(long)]
    pub(crate) used_in_this_run: bool,
    /// Keep what registries give only to a login
    #[arg(long)]
    pub(crate) keep_private: bool,
    /// Only say what would go, and why
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
    /// The image, as `docker pull` takes it; what the store does not have of it is fetched
    #[arg(value_name = "IMAGE")]
    pub(crate) image: ImageRef,
    /// The file to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::DockerArchive)]
    pub(crate) format: ExportFormat,
    /// What to export for, as linux/arm64 (default: this machine's)
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
    /// The image's name, where the file does not say it, or instead of that
    #[arg(long, short, value_name = "IMAGE")]
    pub(crate) tag: Option<ImageRef>,
    /// Tars of docker save, podman save or export, and OCI layouts, as directories or in a tar
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
    /// Write nothing; exit with 1 when the file says something else, and say what
    #[arg(long)]
    pub(crate) check: bool,
    /// All tags in the store, not only those that were used since the daemon started last
    #[arg(long, conflicts_with = "images")]
    pub(crate) all: bool,
    /// Only these images
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) settings: Settings,
}
