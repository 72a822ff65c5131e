//! Which of dockerd's files are written with what.

use hubcap_oci::Registry;

use super::facts::Feature;
use super::find::Dockerd;
use crate::certs_dir::CertsDir;
use crate::change::{Plan, Planned};
use crate::error::Error;
use crate::file;
use crate::file_kind::FileKind;
use crate::format::daemon_json::DaemonJson;
use crate::format::hosts_toml::Capabilities;
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};

impl Dockerd {
    /// What configuring it would change.
    ///
    /// # Errors
    /// [`Error::NotUnderstood`] for a `daemon.json` that dockerd itself would not take, or whose mirrors are given as
    /// flags; [`Error::Io`] and [`Error::Rights`] when files cannot be read.
    pub fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error> {
        let capabilities = Capabilities::of(self.has(Feature::ReferrersCapability));
        let mut plan = CertsDir { path: &self.certs_dir, capabilities }.plan(journal, mirror, registries)?;
        if !mirror.address.ip().is_loopback() {
            // Elsewhere than on loopback dockerd checks the mirror's certificate.
            let path = self.certs_dir.join(mirror.address.to_string()).join("ca.crt");
            plan.push(journal.plan(path, FileKind::Certificate, |_| file::read(&mirror.ca))?);
        }
        if registries.named.iter().any(Registry::is_docker_hub) {
            plan.push(self.plan_daemon_json(journal, mirror)?);
        }
        Ok(plan)
    }

    fn plan_daemon_json(&self, journal: &Journal, mirror: &Mirror) -> Result<Planned, Error> {
        let path = &self.daemon_json;
        if self.mirrors_by_flag {
            let why = "dockerd was started with --registry-mirror, and takes mirrors from one place only; move the flag's \
                       mirrors into this file";
            return Err(Error::not_understood(path, why));
        }
        let our_proxies = super::proxy::our_proxies(journal, path);
        journal.plan(path.clone(), FileKind::DaemonJson, |original| {
            let Some(mut json) = DaemonJson::parse(path, original)?.with_first(path, mirror)? else {
                return Ok(original.map(str::to_owned));
            };
            if our_proxies.is_some() {
                // Set before; dockerd would keep it until its restart, whatever is written here.
                json = json.with_proxies(our_proxies);
            }
            Ok(Some(json.to_string()))
        })
    }
}
