//! How fast registries are from here for who pulls without hubcap: measured where enough was fetched, and remembered in the
//! store for the runs in which it is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use hubcap_cache::{RegistryStats, Snapshot};
use hubcap_store::replace_file;
use serde::{Deserialize, Serialize};

/// In the store, so that it travels with what it is the measure for.
pub(crate) const FILE: &str = "speed.json";
/// A measure needs this many bytes.
const LEAST: u64 = 20_000_000;
/// A measure of less than this part of the bytes does not replace one that is not old.
const WORSE: u64 = 2;
/// From this age on a measure is old, in seconds: two weeks.
const OLD: u64 = 14 * 86_400;

/// A registry's speeds, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speed {
    /// Of one connection.
    pub(crate) one: f64,
    /// Of all together.
    pub(crate) all: f64,
    /// How many bytes they were measured over.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// When, in seconds since the epoch.
    #[serde(default)]
    pub(crate) at: u64,
}

/// By registry.
pub(crate) type Speeds = BTreeMap<String, Speed>;

impl Speed {
    /// What a run has measured, if it has.
    fn measured(registry: &RegistryStats, at: u64) -> Option<Self> {
        let speed = Self {
            one: registry.single_connection_rate,
            all: registry.line_rate,
            bytes: registry.sampled,
            at,
        };
        Some(speed).filter(|speed| speed.is_usable())
    }

    fn is_usable(self) -> bool {
        self.bytes >= LEAST && [self.one, self.all].iter().all(|speed| speed.is_finite() && *speed > 0.0)
    }

    /// Whether it tells more than an earlier one.
    fn is_better_than(self, before: Self) -> bool {
        self.bytes >= before.bytes / WORSE || self.at.saturating_sub(before.at) > OLD
    }
}

/// The speeds of earlier runs and of this one, which are remembered.
pub(crate) fn remembered(store: &Path, meter: &Snapshot) -> Speeds {
    let path = store.join(FILE);
    let before: Speeds =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let speeds = updated(before.clone(), meter, now);
    if speeds != before
        && let Ok(text) = serde_json::to_string(&speeds)
        && let Err(error) = replace_file(&path, &path.with_extension("new"), text.as_bytes())
    {
        tracing::debug!(target: "hubcap::down", "the speeds are not remembered: {error}");
    }
    speeds
}

fn updated(mut speeds: Speeds, meter: &Snapshot, now: u64) -> Speeds {
    speeds.retain(|_, speed| speed.is_usable());
    for (name, registry) in &meter.registries {
        if let Some(new) = Speed::measured(registry, now)
            && speeds.get(name).is_none_or(|before| new.is_better_than(*before))
        {
            speeds.insert(name.clone(), new);
        }
    }
    speeds
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// After a run that fetched so many MB, at the given time.
    fn after(before: Speeds, mb: u64, at: u64) -> Speeds {
        let registry = RegistryStats {
            sampled: mb * MB,
            single_connection_rate: 5e6,
            line_rate: 20e6,
            ..RegistryStats::default()
        };
        let meter =
            Snapshot { registries: [("docker.io".to_owned(), registry)].into(), ..Snapshot::default() };
        updated(before, &meter, at)
    }

    #[test]
    fn less_than_twenty_megabytes_are_no_measure() {
        assert!(after(Speeds::new(), 19, 0).is_empty());
        assert_eq!(after(Speeds::new(), 20, 0)["docker.io"].all, 20e6);
    }

    #[test]
    fn a_small_sample_does_not_replace_a_large_one() {
        let speeds = after(after(Speeds::new(), 500, 0), 30, 1000);
        assert_eq!(speeds["docker.io"].bytes, 500 * MB);
    }

    #[test]
    fn a_sample_of_about_the_same_size_replaces_the_one_before() {
        let speeds = after(after(Speeds::new(), 500, 0), 300, 1000);
        assert_eq!(speeds["docker.io"].bytes, 300 * MB);
    }

    #[test]
    fn an_old_sample_is_replaced_by_a_small_one() {
        let speeds = after(after(Speeds::new(), 500, 0), 30, OLD + 1);
        assert_eq!(speeds["docker.io"].bytes, 30 * MB);
    }

    #[test]
    fn a_speed_of_which_no_sample_is_known_is_forgotten() {
        let old: Speeds = serde_json::from_str(r#"{"docker.io": {"one": 1e6, "all": 1e6}}"#).expect("speeds");
        assert!(updated(old, &Snapshot::default(), 0).is_empty());
    }
}
