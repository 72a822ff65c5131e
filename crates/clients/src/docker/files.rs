//! Which of dockerd's files are written with what.

use hubcap_oci::Registry;

use super::facts::Feature;
use super::find::Dockerd;
use crate::certs_dir::CertsDir;
use crate::change::{Change, Plan, Planned};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::format::daemon_json::DaemonJson;
use crate::format::hosts_toml::Capabilities;
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};
use crate::paths;

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
            let ca = mirror.ca.pem()?;
            let path = self.certs_dir.join(mirror.address.to_string()).join("ca.crt");
            plan.push(journal.plan(path, FileKind::Certificate, |_| Ok(ca.map(str::to_owned)))?);
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
        let asked_for_store = super::store::asked_for_containerd_store(journal, path);
        journal.plan(path.clone(), FileKind::DaemonJson, |original| {
            let Some(mut json) = DaemonJson::parse(path, original)?.with_first(path, mirror)? else {
                return Ok(original.map(str::to_owned));
            };
            if our_proxies.is_some() {
                // Set before; dockerd would keep it until its restart, whatever is written here.
                json = json.with_proxies(our_proxies);
            }
            if asked_for_store {
                // Else dockerd's next restart would change its store.
                json = json.with_containerd_store(path, Some(true))?;
            }
            Ok(Some(json.to_string()))
        })
    }

    /// The plan with one more edit of `daemon.json`, beside the mirrors where these are planned.
    pub(super) fn with_daemon_json(
        &self,
        journal: &Journal,
        mut plan: Plan,
        edit: impl FnOnce(DaemonJson) -> Result<DaemonJson, Error>,
    ) -> Result<Plan, Error> {
        let path = paths::followed(self.daemon_json.clone())?;
        let original = journal.original(&path, FileKind::DaemonJson)?;
        let at = plan.iter().position(|planned| planned.change.path == path);
        let text = at.map_or(original.as_ref(), |at| plan[at].change.wanted.as_ref());
        let json = edit(DaemonJson::parse(&path, text.map(String::as_str))?)?;
        let change = Change::of(path, Some(json.to_string()))?;
        let planned = Planned { change, original, kind: FileKind::DaemonJson };
        match at {
            Some(at) => plan[at] = planned,
            None => plan.push(planned),
        }
        Ok(plan)
    }
}
