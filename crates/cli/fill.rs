//! Fills the store with images: in this process, or by the daemon that has the store.

use hubcap_cache::prefetch::{self, Event};
use hubcap_oci::{ImageRef, Platform};

use crate::compose;
use crate::daemon::client;
use crate::holder::Holder;
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
        let store = match Holder::of(config)? {
            Holder::Here(store) => store,
            Holder::Daemon => {
                return client::pull(&config.state, images, platforms, |image| show(Event::Image(image)));
            }
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
