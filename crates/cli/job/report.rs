//! What is known of a job when the daemon has ended: the job summary is made of it, at the very end of the job's last step.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use fs_err as fs;
use hubcap_cache::{RepositoryStats, Snapshot};
use serde::{Deserialize, Serialize};

use crate::job::plain;
use crate::job::pulls::Pull;
use crate::job::speed::Speeds;
use crate::job::worth::{Account, Steps, Worth};
use crate::replace::{PRIVATE, replace};
use crate::show::unpacking::Told;

/// Everything but the seconds of hubcap's own steps, which have not ended yet.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    pub(crate) meter: Snapshot,
    pub(crate) pulls: Vec<Pull>,
    /// How many requests the daemon has forgotten, so that no pull is known as a whole.
    pub(crate) forgotten: u64,
    pub(crate) speeds: Speeds,
    pub(crate) unpacking: Option<Told>,
}

impl Report {
    /// Writes it for `hubcap summary`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        replace(path, PRIVATE, |mut file| Ok(file.write_all(&serde_json::to_vec(self)?)?))
    }

    /// What `hubcap down` has written.
    ///
    /// # Errors
    /// When the file cannot be read, or hubcap did not write it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path)?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no report of `hubcap down`", path.display()))
    }

    /// Bytes that no registry had to send.
    pub(crate) fn saved(&self) -> u64 {
        self.meter.repositories.values().map(RepositoryStats::saved).sum()
    }

    /// What hubcap was worth.
    pub(crate) fn worth(&self, steps: Steps) -> Worth {
        let has_pulls = self.meter.repositories.values().any(|one| one.served > 0);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let known = self.forgotten == 0;
        let pulls = known.then(|| plain::estimate(&self.pulls, &self.speeds, processors)).flatten();
        let unpacked_by_hubcap = self.unpacking.as_ref().is_some_and(Told::is_by_hubcap);
        Worth::new(has_pulls, pulls.map(|pulls| Account { pulls, steps, unpacked_by_hubcap }))
    }
}
