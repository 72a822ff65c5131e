//! How fast registries are from here for who pulls without hubcap: measured where something was fetched, and remembered in
//! the store for the runs in which nothing is.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use hubcap_cache::{RegistryStats, Snapshot};
use hubcap_store::replace_file;
use serde::{Deserialize, Serialize};

/// In the store, so that it travels with what it is the measure for.
pub(crate) const FILE: &str = "speed.json";
/// Layers that dockerd fetches at a time, each over one connection; hubcap may have more.
const CONNECTIONS: f64 = 3.0;

/// A registry's speeds, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speed {
    /// Of one connection.
    pub(crate) one: f64,
    /// Of all together.
    pub(crate) all: f64,
}

/// By registry.
pub(crate) type Speeds = BTreeMap<String, Speed>;

impl Speed {
    /// What a run has measured, if it has.
    fn measured(registry: &RegistryStats) -> Option<Self> {
        let speed = Self {
            one: registry.single_connection_rate,
            // Bytes of a run are far from f64's limits.
            all: registry.fetched as f64 * 1000.0 / registry.fetching_ms as f64,
        };
        // None of one connection where nothing was large enough to tell.
        Some(speed).filter(|speed| speed.is_usable())
    }

    fn is_usable(self) -> bool {
        [self.one, self.all].iter().all(|speed| speed.is_finite() && *speed > 0.0)
    }

    /// Seconds that dockerd would take for so many bytes in contents of which the largest has `largest`.
    pub(crate) fn seconds(self, bytes: u64, largest: u64) -> f64 {
        let together = bytes as f64 / self.all.min(CONNECTIONS * self.one);
        together.max(largest.min(bytes) as f64 / self.one)
    }
}

/// The speeds of earlier runs and of this one, which are remembered.
pub(crate) fn remembered(store: &Path, meter: &Snapshot) -> Speeds {
    let path = store.join(FILE);
    let mut speeds: Speeds =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    speeds.retain(|_, speed| speed.is_usable());
    let measured = |(name, one): (&String, &RegistryStats)| Some((name.clone(), Speed::measured(one)?));
    let new: Speeds = meter.registries.iter().filter_map(measured).collect();
    let any = !new.is_empty();
    speeds.extend(new);
    if any
        && let Ok(text) = serde_json::to_string(&speeds)
        && let Err(error) = replace_file(&path, &path.with_extension("new"), text.as_bytes())
    {
        tracing::debug!(target: "hubcap::down", "the speeds are not remembered: {error}");
    }
    speeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_layer_takes_one_connections_time_and_many_small_ones_that_of_three() {
        let limited = Speed { one: 50e6, all: 300e6 };
        assert_eq!(limited.seconds(1_000_000_000, 1_000_000_000), 20.0);
        assert_eq!(limited.seconds(1_500_000_000, 200_000_000), 10.0);
        // A line that three connections fill.
        assert_eq!(Speed { one: 50e6, all: 60e6 }.seconds(600_000_000, 100_000_000), 10.0);
    }
}
