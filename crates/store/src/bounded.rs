//! A map with a bound on its entries.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most `max` entries, for what can be looked up again. One that is full starts over empty: that costs some
/// look-ups, and nothing has to be kept about each entry's use.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: HashMap<K, V>,
    max: usize,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), max }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.entries.clear();
        }
        self.entries.insert(key, value);
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_starts_over() {
        let mut map = Bounded::new(2);
        for key in [1, 2, 2] {
            map.insert(key, ());
        }
        assert_eq!([1, 2].map(|key| map.get(&key).is_some()), [true, true]);
        map.insert(3, ());
        assert_eq!([1, 2, 3].map(|key| map.get(&key).is_some()), [false, false, true]);
    }
}
