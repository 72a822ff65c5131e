//! The store that a job hands to the next one.

use std::path::Path;

use hubcap_store::{Layout, Prune, Removal, Wanted};

use crate::compose;
use crate::daemon::run::Run;
use crate::settings::Config;

/// What trimming has removed.
pub(crate) struct Trimmed {
    pub(crate) removals: Vec<Removal>,
    /// The store's size after it, in bytes.
    pub(crate) size: u64,
}

/// Removes what registries give only to a login, and its names: who may read the cache may have it else. A job that failed, and
/// whose store is not trimmed, has that in it as well.
///
/// # Errors
/// When the store cannot be opened or written.
pub(crate) fn remove_private(config: &Config, store: &Path) -> anyhow::Result<()> {
    let layout = Layout::at(store);
    if !layout.has_private() && !layout.has_index() {
        return Ok(());
    }
    let store = compose::store_to_carry(&Config { store: store.to_owned(), ..config.clone() })?;
    store.evict(Wanted::Private)?;
    store.close();
    Ok(())
}

/// Trims the store of a run to what the run used. A run that used nothing says nothing of the next one: then everything
/// stays that may be carried.
pub(crate) fn trim(config: &Config, run: &Run, keep_private: bool) -> anyhow::Result<Trimmed> {
    let store = compose::store_to_carry(&Config { store: run.store.clone(), ..config.clone() })?;
    let mut kept = Prune { used_since: Some(run.since()), keep_private };
    let freed: u64 = store.plan(Wanted::Prune(kept))?.iter().map(|one| one.bytes).sum();
    if freed >= store.size() {
        kept.used_since = None;
    }
    let removals = store.evict(Wanted::Prune(kept))?;
    let size = store.size();
    store.close();
    Ok(Trimmed { removals, size })
}
