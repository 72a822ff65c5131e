//! The one place that builds the parts of hubcap from its settings: store, upstreams, cache, and the runtime they run on.

use hubcap_cache::Cache;
use hubcap_store::{Durability, Limits, Options, Store};
use hubcap_upstream::Upstreams;
use tokio::runtime::{Builder, Runtime};

use crate::secret;
use crate::settings::Config;

/// Starts a runtime with a worker thread for each CPU.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// Opens the store for this process alone.
///
/// # Errors
/// When another process has it, or it cannot be read or written.
pub(crate) fn store(config: &Config) -> Result<Store, hubcap_store::Error> {
    Store::open(&config.store, options(config))
}

/// Opens the store to be served. One that cannot be written is served read-only.
///
/// # Errors
/// When another process has it, or it cannot be read.
pub(crate) fn store_to_serve(config: &Config, durability: Durability) -> Result<Store, hubcap_store::Error> {
    match Store::open(&config.store, Options { durability, ..options(config) }) {
        Err(error) if error.is_unwritable() => {
            tracing::warn!(target: "hubcap::serve", "the store cannot be written ({error}): what is in it is served, \
                pulls go on, and nothing more is stored");
            Ok(Store::open_read_only(&config.store, Options { durability, ..options(config) }, &error))
        }
        opened => opened,
    }
}

/// Opens the store to be trimmed for the next job, which has a disk of its own: `min-free` does not count.
///
/// # Errors
/// As [`store`].
pub(crate) fn store_to_carry(config: &Config) -> Result<Store, hubcap_store::Error> {
    let mut options = options(config);
    options.limits.min_free = None;
    Store::open(&config.store, options)
}

fn options(config: &Config) -> Options {
    if let Some(secret) = secret::of(&config.state) {
        hubcap_store::rely_on_what_is_noted_with(&secret);
    }
    let limits = Limits { max_size: config.max_size, min_free: Some(config.min_free) };
    Options { limits, pins: config.pins.clone(), durability: Durability::Kernel }
}

/// The upstreams that hubcap may ask. No connection is opened yet.
///
/// # Errors
/// When a URL is neither http nor https, or the TLS client cannot be set up.
pub(crate) fn upstreams(config: &Config) -> Result<Upstreams, hubcap_upstream::Error> {
    Upstreams::new(hubcap_upstream::Config {
        upstreams: config.upstreams.clone(),
        allowed: config.allowed.clone(),
        timeout: config.upstream_timeout,
    })
}

/// A cache over an open store and the configured upstreams.
///
/// # Errors
/// As [`upstreams`].
pub(crate) fn cache(store: Store, config: &Config) -> Result<Cache, hubcap_upstream::Error> {
    let rules = hubcap_cache::Config {
        offline: config.offline,
        tags: config.tags.clone(),
        removed: config.removed.clone(),
        frozen: config.frozen.as_ref().map(|frozen| frozen.lock.tags()),
        read_ahead: config.read_ahead,
    };
    Ok(Cache::new(store, upstreams(config)?, rules))
}
