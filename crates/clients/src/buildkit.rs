//! BuildKit: `buildkitd.toml`, for builders of their own (`docker buildx create`, `buildkitd`). The one inside dockerd
//! is told with dockerd.

mod builders;
mod facts;
mod files;
mod find;
mod notes;

use hubcap_oci::Registry;

pub use builders::{Builder, builders};
pub use find::Buildkit;

use crate::change::Plan;
use crate::client::Client;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};

impl Buildkit {
    /// Its name among the clients.
    pub const NAME: &str = "buildkit";
}

impl Client for Buildkit {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "BuildKit"
    }

    /// None by which it could be told that someone pulls with it: the builders that there are tell it.
    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    /// buildx makes a builder for whoever wants one.
    fn is_used_here(&self) -> bool {
        find::has_buildx()
    }

    fn is_in_containers(&self) -> bool {
        true
    }

    fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error> {
        files::plan(self.find()?, journal, mirror, &registries.named)
    }

    fn notes(&self, mirror: &Mirror) -> Result<Vec<String>, Error> {
        Ok(notes::notes(mirror, &builders()))
    }

    fn coverage(&self, _journal: &Journal, _registries: &[Registry]) -> Result<Vec<Coverage>, Error> {
        Ok(vec![Coverage::using("builders that are made from now on")])
    }
}
