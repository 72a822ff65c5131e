//! A map that a flood of keys cannot make large.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Remembers at most `limit` values, and when each was put in.
///
/// A lookup costs what a [`HashMap`]'s does. So does putting in, until the map is full: then each new key costs a pass over
/// all entries, which removes those older than `life`. While all are younger, a new key is not remembered. Therefore nobody
/// can push out the entries of others with keys of their own, and the owner must be right, if slower, about a key that is
/// missing.
pub(crate) struct LimitedMap<K, V> {
    limit: usize,
    life: Duration,
    entries: HashMap<K, Entry<V>>,
}

struct Entry<V> {
    value: V,
    since: Instant,
}

impl<K: Eq + Hash, V> LimitedMap<K, V> {
    pub(crate) fn new(limit: usize, life: Duration) -> Self {
        Self { limit, life, entries: HashMap::new() }
    }

    /// The value of `key`, unless it is older than `life`.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        self.entries.get(key).filter(|entry| entry.age(now) < self.life).map(|entry| &entry.value)
    }

    /// How long `key` has been in the map. It may be longer than `life`.
    pub(crate) fn age(&self, key: &K, now: Instant) -> Option<Duration> {
        self.entries.get(key).map(|entry| entry.age(now))
    }

    /// Puts `value` in, new from `now` on; returns what it replaces, however old that is.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Instant) -> Option<V> {
        let full = self.entries.len() >= self.limit && !self.entries.contains_key(&key);
        if full {
            self.entries.retain(|_, entry| entry.age(now) < self.life);
        }
        if full && self.entries.len() >= self.limit {
            return None;
        }
        self.entries.insert(key, Entry { value, since: now }).map(|entry| entry.value)
    }

    /// Removes the keys for which `keep` is false.
    pub(crate) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }
}

impl<V> Entry<V> {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(10);

    #[test]
    fn a_value_is_found_until_its_life_has_passed() {
        let now = Instant::now();
        let mut map = LimitedMap::new(2, LIFE);
        map.insert("a", 1, now);
        assert_eq!(map.get(&"a", now + LIFE - Duration::from_secs(1)), Some(&1));
        assert_eq!(map.get(&"a", now + LIFE), None);
        assert_eq!(map.age(&"a", now + 2 * LIFE), Some(2 * LIFE));
    }

    #[test]
    fn a_full_map_does_not_remember_a_new_key() {
        let now = Instant::now();
        let mut map = LimitedMap::new(2, LIFE);
        for key in ["a", "b", "c"] {
            map.insert(key, 1, now);
        }
        assert_eq!(["a", "b", "c"].map(|key| map.get(&key, now).is_some()), [true, true, false]);
    }

    #[test]
    fn a_full_map_renews_a_key_that_it_has() {
        let now = Instant::now();
        let mut map = LimitedMap::new(1, LIFE);
        map.insert("a", 1, now);
        map.insert("a", 2, now + LIFE / 2);
        assert_eq!(map.get(&"a", now + LIFE), Some(&2));
    }

    #[test]
    fn a_full_map_drops_what_is_too_old_for_a_new_key() {
        let now = Instant::now();
        let mut map = LimitedMap::new(2, LIFE);
        map.insert("old", 1, now);
        map.insert("young", 1, now + LIFE / 2);
        map.insert("new", 1, now + LIFE);
        assert_eq!(
            ["old", "young", "new"].map(|key| map.age(&key, now + LIFE).is_some()),
            [false, true, true]
        );
    }
}
