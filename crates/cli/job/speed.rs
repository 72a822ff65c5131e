//! How fast registries are from here for who pulls without hubcap: measured where enough was fetched, and remembered in the
//! store for the runs in which it is not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hubcap_cache::{RegistryStats, Snapshot};
use hubcap_store::Layout;
use serde::{Deserialize, Serialize};

/// In the store, so that it travels with what it is the measure for.
pub(crate) const FILE: &str = "speed.json";
/// A measure needs this many bytes.
const LEAST: u64 = 20_000_000;
/// A measure of less than this part of the bytes does not replace one that is not old.
const WORSE: u64 = 2;
/// From this age on a measure is old, in seconds: two weeks.
const OLD: u64 = 14 * 86_400;
/// No measure has more bytes, and no registry gives so many a second: 1 PB, 1 TB. The store may be somebody else's.
const MOST: u64 = 1_000_000_000_000_000;
const FASTEST: f64 = 1e12;

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
        Some(speed).filter(|speed| speed.is_usable(at))
    }

    fn is_usable(self, now: u64) -> bool {
        let is_speed = |speed: &f64| *speed > 0.0 && *speed <= FASTEST;
        (LEAST..=MOST).contains(&self.bytes) && self.at <= now && [self.one, self.all].iter().all(is_speed)
    }

    /// Whether it tells more than an earlier one.
    fn is_better_than(self, before: Self) -> bool {
        self.bytes >= before.bytes / WORSE || self.at.saturating_sub(before.at) > OLD
    }
}

/// The speeds of earlier runs and of this one. Those of registries of which the store names an image are remembered: what was
/// private, and is gone before the store is carried, leaves no registry's name either.
pub(crate) fn remembered(store: &Path, meter: &Snapshot) -> Speeds {
    let layout = Layout::at(store);
    let before = layout.beside(FILE);
    let found: Speeds =
        before.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let speeds = updated(found, meter, now);
    let named = layout.registries().unwrap_or_default();
    let kept: Speeds = speeds.clone().into_iter().filter(|(name, _)| named.contains(name)).collect();
    let text = serde_json::to_vec(&kept).unwrap_or_default();
    if before.as_ref().map_or(!kept.is_empty(), |before| *before != text)
        && let Err(error) = layout.put_beside(FILE, &text)
    {
        tracing::debug!(target: "hubcap::down", "the speeds are not remembered: {error}");
    }
    speeds
}

fn updated(mut speeds: Speeds, meter: &Snapshot, now: u64) -> Speeds {
    speeds.retain(|_, speed| speed.is_usable(now));
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

    #[test]
    fn no_speed_that_somebody_else_has_written_is_kept_for_ever() {
        for forged in [
            r#"{"a": {"one": 1e6, "all": 1e6, "bytes": 18446744073709551615, "at": 0}}"#,
            r#"{"a": {"one": 1e6, "all": 1e6, "bytes": 30000000, "at": 2000}}"#,
            r#"{"a": {"one": 1e300, "all": 1e6, "bytes": 30000000, "at": 0}}"#,
        ] {
            let forged: Speeds = serde_json::from_str(forged).expect("speeds");
            assert!(updated(forged, &Snapshot::default(), 1000).is_empty());
        }
    }

    #[test]
    fn a_registry_of_which_the_store_names_nothing_leaves_no_name() {
        let store = tempfile::tempdir().expect("a directory");
        let at = |name: &str| store.path().join(name);
        std::fs::create_dir(at("ingest")).expect("made");
        let speeds = after(Speeds::new(), 30, 0);
        std::fs::write(at(FILE), serde_json::to_vec(&speeds).expect("text")).expect("written");
        assert_eq!(remembered(store.path(), &Snapshot::default()), speeds);
        assert_eq!(std::fs::read_to_string(at(FILE)).expect("there"), "{}");
    }
}
