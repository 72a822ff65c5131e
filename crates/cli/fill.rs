//! Fills the store with images: in this process, or by the daemon that has the store.

use anyhow::Context as _;
use hubcap_cache::prefetch::{self, Event};
use hubcap_oci::{ImageRef, Platform};

use crate::compose;
use crate::daemon::client;
use crate::settings::Config;

/// Fetches what is missing of `images`, for `platforms`, or for this machine's where none is named. `show` gets the events;
/// a daemon tells of whole images only.
///
/// # Errors
/// When the store cannot be opened, or the daemon that has it does not answer. An image that fails is an event.
pub(crate) fn fill(
    config: &Config,
    images: &[ImageRef],
    platforms: &[Platform],
    mut show: impl FnMut(Event),
) -> anyhow::Result<()> {
    let runtime = compose::runtime()?;
    runtime.block_on(async {
        let store = match compose::store(config) {
            Err(in_use @ hubcap_store::Error::InUse { .. }) => {
                check_daemon(config, in_use)?;
                return client::pull(&config.state, images, platforms, |image| show(Event::Image(image)));
            }
            opened => opened?,
        };
        let cache = compose::cache(store.clone(), config)?;
        let mut events = prefetch::start(cache, images.to_vec(), platforms.to_vec());
        while let Some(event) = events.recv().await {
            show(event);
        }
        store.close();
        Ok(())
    })
}

/// # Errors
/// `in_use`, when the process that has the store is not the daemon of this state directory.
fn check_daemon(config: &Config, in_use: hubcap_store::Error) -> anyhow::Result<()> {
    if client::status(&config.state).is_ok_and(|status| status.daemon.store == config.store) {
        return Ok(());
    }
    Err(in_use).context("the hubcap that has it does not answer in this --state: pull through it, or stop it")
}
