//! How fast registries are from here: measured where something was fetched, and remembered in the store for the runs in
//! which nothing is.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;

use crate::admin::Status;

/// In the store, so that it travels with what it is the measure for. Bytes a second, by registry.
const FILE: &str = "speed.json";
/// Less than this, in bytes, says nothing of a speed.
const ENOUGH: u64 = 1_000_000;

/// Bytes a second, by registry.
pub(crate) type Speeds = BTreeMap<String, f64>;

/// The speeds of earlier runs and of this one, which are remembered.
pub(crate) fn remembered(store: &Path, status: &Status) -> Speeds {
    let path = store.join(FILE);
    let mut speeds: Speeds =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    speeds.retain(|_, speed| speed.is_finite() && *speed > 0.0);
    let measured = status.registries.iter().filter(|(_, one)| one.fetched >= ENOUGH && one.fetching_ms > 0);
    let mut new = false;
    for (registry, one) in measured {
        // Bytes of a run are far from f64's limits.
        speeds.insert(registry.clone(), one.fetched as f64 * 1000.0 / one.fetching_ms as f64);
        new = true;
    }
    if new && let Ok(text) = serde_json::to_string(&speeds) {
        let written = fs::write(path.with_extension("new"), text);
        if let Err(error) = written.and_then(|()| fs::rename(path.with_extension("new"), &path)) {
            tracing::debug!(target: "hubcap::down", "the speeds are not remembered: {error}");
        }
    }
    speeds
}
