//! Who has the store: this process, or a daemon.

use anyhow::Context as _;
use hubcap_oci::{Digest, ImageRef};
use hubcap_store::Store;

use crate::compose;
use crate::daemon::client;
use crate::settings::Config;

/// Who answers what only the open store knows.
pub(crate) enum Holder {
    /// This process, which has opened it.
    Here(Store),
    /// The daemon of the state directory.
    Daemon,
}

impl Holder {
    /// # Errors
    /// When the store cannot be opened, or the process that has it is not the daemon of this state directory.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        match compose::store(config) {
            Err(in_use @ hubcap_store::Error::InUse { .. }) => {
                if client::status(&config.state).is_ok_and(|status| status.daemon.store == config.store) {
                    return Ok(Self::Daemon);
                }
                Err(in_use).context(
                    "the hubcap that has it does not answer in this --state: pull through it, or stop it",
                )
            }
            opened => Ok(Self::Here(opened?)),
        }
    }
}

/// Which of these contents the image's repository is not known to have.
///
/// # Errors
/// As [`Holder::of`]; when the daemon does not answer.
pub(crate) fn missing(config: &Config, image: &ImageRef, contents: &[Digest]) -> anyhow::Result<Vec<Digest>> {
    match Holder::of(config)? {
        Holder::Daemon => client::missing(&config.state, image, contents),
        Holder::Here(store) => {
            let missing = store.missing(&image.target(), contents);
            store.close();
            Ok(missing)
        }
    }
}
