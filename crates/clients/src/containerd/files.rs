//! Which of containerd's files are written with what, and what its users have to know of them.

use super::facts::Cri;
use super::find::FoundContainerd;
use crate::certs_dir::CertsDir;
use crate::change::Plan;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};

impl FoundContainerd {
    pub(super) fn plan(
        &self,
        journal: &Journal,
        mirror: &Mirror,
        registries: &Registries,
    ) -> Result<Plan, Error> {
        CertsDir { path: &self.certs_dir, capabilities: self.capabilities }.plan(journal, mirror, registries)
    }

    /// Which pulls read the files, and how the others would.
    pub(super) fn coverage(&self) -> Vec<Coverage> {
        let (dir, config) = (self.certs_dir.display(), self.config.display());
        let ctr =
            format!("ctr images pull --hosts-dir {dir}; without that flag ctr asks the registry itself");
        let cri = match self.cri {
            Cri::Configured => Coverage::using(format!("Kubernetes' pulls (CRI): {config} names {dir}")),
            Cri::ByDefault => {
                Coverage::using(format!("Kubernetes' pulls (CRI), which read {dir} by default"))
            }
            Cri::Not { plugin } => Coverage::not_using(
                format!("Kubernetes' pulls (CRI): {config} does not name {dir}"),
                Some(format!(
                    "set config_path = \"{dir}\" in [plugins.\"{plugin}\".registry] of {config}, then systemctl restart containerd"
                )),
            ),
        };
        vec![Coverage::using(ctr), cri]
    }

    /// Who reads the files, and how the others are told to.
    pub(super) fn notes(&self) -> Vec<String> {
        let dir = self.certs_dir.display();
        let cri = match self.cri {
            Cri::Configured => {
                format!("Kubernetes' pulls (CRI) read {dir}: {} says so.", self.config.display())
            }
            Cri::ByDefault => format!("Kubernetes' pulls (CRI) read {dir} by default."),
            Cri::Not { plugin } => format!(
                "Kubernetes' pulls (CRI) do not read {dir}. To have them do it, write into {}, and restart containerd:\n\
                 [plugins.\"{plugin}\".registry]\n  config_path = \"{dir}\"",
                self.config.display()
            ),
        };
        vec![format!("ctr reads it when told: ctr images pull --hosts-dir {dir} IMAGE"), cri]
    }
}
