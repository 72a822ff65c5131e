//! One client of the matrix, as its test and its row in docs/clients.md have it.

use crate::support::machine::{Machine, Programs};
use crate::support::programs::loud;

use super::origins::Image;

/// A client, how hubcap is told to wire it, and how it pulls.
pub(crate) struct Client {
    /// Its name in the table.
    pub(crate) title: &'static str,
    /// The version that was tried; a line is loud if the program says another one.
    pub(crate) version: &'static str,
    /// Where its images are.
    pub(crate) store: &'static str,
    pub(crate) programs: Programs,
    /// The name of its process.
    pub(crate) process: &'static str,
    /// How `hubcap setup` names it.
    pub(crate) name: &'static str,
    /// How the doctor's findings name it.
    pub(crate) about: &'static str,
    /// What the doctor says is to be done before it is wired.
    pub(crate) remedy: &'static str,
    pub(crate) wiring: Wiring,
    pub(crate) covers: Covers,
    /// Asks for its version.
    pub(crate) asks: fn(&Machine) -> String,
    /// Starts what it needs.
    pub(crate) start: fn(&Machine) -> Pull,
    /// What it calls an image that it has.
    pub(crate) identity: fn(&Image) -> String,
}

/// With which command a client is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// `hubcap up`, unwired by `hubcap down`.
    Up {
        /// With `--restart`.
        restart: bool,
    },
    /// `hubcap setup`, unwired by `hubcap unset`.
    Setup,
}

/// Which registries' images go through hubcap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Docker Hub's alone.
    DockerHub,
    /// Those of every registry that hubcap is set up for.
    Every,
}

impl Covers {
    pub(crate) fn has(self, image: &Image) -> bool {
        self == Self::Every || image.is_docker_hubs()
    }

    /// How many blobs come from the origins: three layers and a configuration of each image, of which two layers are the
    /// same.
    pub(crate) const fn blobs(self) -> usize {
        match self {
            Self::DockerHub => 4,
            Self::Every => 6,
        }
    }
}

impl Client {
    /// What of it goes through hubcap, by which command.
    pub(crate) fn wired(&self) -> String {
        let covers = match self.covers {
            Covers::DockerHub => "Docker Hub",
            Covers::Every => "each configured registry",
        };
        match self.wiring {
            Wiring::Up { restart: false } => format!("{covers}, by `hubcap up`"),
            Wiring::Up { restart: true } => format!("{covers}, by `hubcap up --restart`"),
            Wiring::Setup => format!("{covers}, by `hubcap setup {}`", self.name),
        }
    }

    /// Compares the version with the table's. A program that was updated is tried all the same.
    pub(crate) fn compare_version(&self, machine: &Machine) {
        let told = (self.asks)(machine);
        if !told.contains(self.version) {
            let Self { title, version, .. } = self;
            loud(&format!("docs/clients.md SAYS {version} of {title}, which is {}", told.trim()));
        }
    }
}

/// An image's identity, or what the client said when it did not get it.
pub(crate) type Pulled = Result<String, String>;

/// Pulls an image, tells its identity, and removes all of it again. It keeps what runs for that.
pub(crate) type Pull = Box<dyn Fn(&Machine, &Image) -> Pulled>;
