//! The files that hubcap wrote for a client: whether they are still there, and name hubcap as it runs now.

use std::path::Path;

use hubcap_clients::{FileState, Journal};
use hubcap_oci::Registry;

use super::finding::{Finding, State};
use super::subject::Subject;

/// A client whose files are looked at.
pub(super) struct Files<'a> {
    pub(super) about: &'static str,
    pub(super) journal: &'a Journal,
    pub(super) client: &'static str,
    /// The flags that say where the client is.
    pub(super) flags: String,
}

impl Files<'_> {
    /// What is wrong with them. Nothing is said of those that are as hubcap wrote them.
    pub(super) fn look(&self, subject: &Subject) -> Vec<Finding> {
        let Some(mirror) = &subject.mirror else { return Vec::new() };
        let states = match self.journal.states(mirror) {
            Ok(states) => states,
            Err(error) => return vec![Finding::new(State::Broken, self.about, error.to_string())],
        };
        let registries = registries(states.iter().map(|(path, _)| path.as_path()));
        let names: Vec<String> = registries.iter().map(ToString::to_string).collect();
        let setup = self.setup(subject, &names.join(" "));
        let broken = |says: String| Finding::new(State::Broken, self.about, says).remedy(setup.clone());
        let found = states.iter().filter_map(|(path, state)| {
            let path = path.display();
            Some(match state {
                FileState::AsWritten => return None,
                FileState::Changed => {
                    let says = format!("{path} was changed since hubcap wrote it, and still names hubcap");
                    Finding::new(State::Note, self.about, says)
                }
                FileState::Lost => {
                    broken(format!("{path} was changed since hubcap wrote it, and no longer names hubcap"))
                }
                FileState::OtherAddress => {
                    broken(format!("{path} names another address than {}, where hubcap is", mirror.address))
                }
                FileState::OtherAuthority => {
                    broken(format!("{path} does not have hubcap's CA, {}", mirror.ca.path.display()))
                }
            })
        });
        found.collect()
    }

    /// The command that writes them again, with more words for `setup`.
    pub(super) fn setup(&self, subject: &Subject, more: &str) -> String {
        subject.setup(self.client, &self.flags, more)
    }

    /// The registries whose `hosts.toml` has its client ask hubcap.
    pub(super) fn registries(&self, subject: &Subject) -> Vec<Registry> {
        let states =
            subject.mirror.as_ref().and_then(|mirror| self.journal.states(mirror).ok()).unwrap_or_default();
        let works = states.iter().filter(|(_, state)| state.works());
        registries(works.map(|(path, _)| path.as_path()))
    }
}

/// The registries of the `hosts.toml` among these files.
fn registries<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<Registry> {
    let hosts = paths.filter(|path| path.file_name().is_some_and(|name| name == "hosts.toml"));
    let names = hosts.filter_map(|path| path.parent()?.file_name()?.to_str()?.parse().ok());
    names.collect()
}
