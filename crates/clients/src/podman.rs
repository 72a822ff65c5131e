//! podman, buildah and skopeo (containers/image): a drop-in of our own, and the CA for the mirror's address.

mod facts;
mod files;
mod find;

use hubcap_oci::Registry;

pub use find::Podman;

use crate::change::{Plan, Planned};
use crate::client::Client;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::{Applied, Journal};
use crate::mirror::{Mirror, Registries};
use crate::process::is_installed;

impl Client for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn title(&self) -> &'static str {
        "podman, buildah and skopeo"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["podman", "buildah", "skopeo"]
    }

    fn is_used_here(&self) -> bool {
        self.programs().iter().any(|program| is_installed(program))
    }

    fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error> {
        self.find()?.plan(journal, mirror, &registries.named)
    }

    fn configure(&self, journal: &mut Journal, mirror: &Mirror, plan: &[Planned]) -> Result<Applied, Error> {
        if mirror.ca.pem()?.is_none() {
            let ca = mirror.ca.path.display();
            let why = format!("{ca} is not there yet: start hubcap serve once, and it makes its certificate");
            return Err(Error::Client(why));
        }
        journal.apply(plan)
    }

    fn notes(&self, _mirror: &Mirror) -> Result<Vec<String>, Error> {
        Ok(vec![facts::BLOBS_FOLLOW_THEIR_MANIFEST.to_owned()])
    }

    fn coverage(&self, journal: &Journal, _registries: &[Registry]) -> Result<Vec<Coverage>, Error> {
        let found = self.find()?;
        let ours = |path: &&std::path::Path| path.file_name().is_some_and(|name| name == facts::DROP_IN);
        let coverage = journal.paths().filter(ours).map(|path| {
            let (title, drop_in) = (self.title(), path.display());
            if found.reads(path) {
                return Coverage::using(format!("{title} with the registries of {drop_in}"));
            }
            let pulls = format!("{title}: this user's files stand in place of {drop_in}, which is not read");
            Coverage::not_using(pulls, Some("hubcap unset podman; hubcap setup podman".to_owned()))
        });
        Ok(coverage.collect())
    }
}
