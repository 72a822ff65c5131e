//! containerd: a `hosts.toml` for each registry, read at each pull, so that nothing has to be restarted.
//!
//! `ctr`, nerdctl and Kubernetes' CRI each find the directory in a way of their own; containerd's configuration is
//! read to tell which of them do. It is changed only to give containerd a differ.
//!
//! - [`find`], [`facts`], [`files`]: which containerd is here, what each version reads, and what is written for it.
//! - [`unpacker`], [`imports`], [`proof`]: the one that unpacks, given hubcap's differ, and an image that proves it.
//! - [`service`]: the differ as a service of systemd's.

pub mod facts;
mod files;
mod find;
mod imports;
mod proof;
mod service;
mod unpacker;

use hubcap_oci::Registry;

pub(crate) use facts::Cri;
pub use find::Containerd;
pub(crate) use find::{FoundContainerd, parse_version};
pub use service::DifferService;
pub use unpacker::Unpacker;
pub(crate) use unpacker::refuse_without_differs;

use crate::change::Plan;
use crate::client::Client;
use crate::coverage::Coverage;
use crate::error::Error;
use crate::journal::Journal;
use crate::mirror::{Mirror, Registries};

impl Client for Containerd {
    fn name(&self) -> &'static str {
        "containerd"
    }

    fn title(&self) -> &'static str {
        "containerd"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["containerd"]
    }

    /// Where Kubernetes' pulls read the directory; `ctr` has to be told at each pull.
    fn is_used_here(&self) -> bool {
        self.find().is_ok_and(|found| found.installed && found.cri.reads_directory())
    }

    fn plan(&self, journal: &Journal, mirror: &Mirror, registries: &Registries) -> Result<Plan, Error> {
        self.find()?.plan(journal, mirror, registries)
    }

    fn notes(&self, _mirror: &Mirror) -> Result<Vec<String>, Error> {
        Ok(self.find()?.notes())
    }

    fn coverage(&self, journal: &Journal, _registries: &[Registry]) -> Result<Vec<Coverage>, Error> {
        Ok(self.of_journal(journal).find()?.coverage())
    }
}
