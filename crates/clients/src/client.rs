//! What hubcap has to know of a client: one trait, which each client implements in its own directory.

use std::fmt::Debug;

use hubcap_oci::Registry;

use crate::change::{Change, Plan, Planned};
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::{Applied, Journal, Undoing};
use crate::mirror::{Mirror, Registries};

/// A program, or a family of programs with the same files, that pulls images.
///
/// The value says where the client's files are, as far as the user says it. The rest is found out when a method is
/// called; a client that is not on this machine can be configured, too, for when it is.
pub trait Client: Debug + Send + Sync {
    /// Its name, as a user types it: `podman`.
    fn name(&self) -> &'static str;

    /// The programs, as a sentence names them: "podman, buildah and skopeo".
    fn title(&self) -> &'static str;

    /// The programs that pull by these files.
    fn programs(&self) -> &'static [&'static str];

    /// Whether it is on this machine and reads what hubcap would write, so that `up` configures it without being asked.
    fn is_used_here(&self) -> bool;

    /// Whether it asks from containers: their loopback is not this machine's, so a mirror on loopback is of no use there.
    fn is_in_containers(&self) -> bool {
        false
    }

    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a file that the client itself would not take, or that cannot be merged with;
    /// [`Error::Io`] and [`Error::Rights`] when a file cannot be read; [`Error::Client`] when the client cannot be found.
    fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error>;

    /// Applies the plan, and has the client read it.
    ///
    /// # Errors
    /// [`Error`]; everything is as it was before, an earlier `setup` with it.
    fn configure(&self, journal: &mut Journal, _mirror: &Mirror, plan: &[Planned]) -> Result<Applied, Error> {
        journal.apply(plan)
    }

    /// Restores the client's files to the byte, has the client read them, and returns what that changed.
    ///
    /// # Errors
    /// [`Error`] of the first file that cannot be restored; the others are, and it can be tried again.
    fn undo(&self, journal: &mut Journal) -> Result<Vec<Change>, Error> {
        let Undoing { changes, failed } = journal.plan_undo_of(|_| true);
        journal.undo(&changes)?;
        failed.map_or(Ok(changes), Err)
    }

    /// What its users have to know, in sentences.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    fn notes(&self, _mirror: &Mirror) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// Which of its pulls use the mirror as it is configured for these registries, and which do not.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and [`Error::Client`] when that depends on the client's version, which is not known.
    fn coverage(&self, journal: &Journal, registries: &[Registry]) -> Result<Vec<Coverage>, Error>;
}
