//! One tree of the index: sled's, or one in memory while the disk takes none.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use sled::IVec;

/// Every so many-th key is written at a time when a tree is copied. sled writes a page of keys again for every few that come
/// into it: in their order that makes files twice as large.
const STRIDE: usize = 16;

/// Keys with their values, sorted.
#[derive(Debug)]
pub(super) enum Tree {
    Sled(sled::Tree),
    Memory(RwLock<BTreeMap<IVec, IVec>>),
}

impl Tree {
    pub(super) fn in_memory() -> Self {
        Self::Memory(RwLock::default())
    }

    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        match self {
            Self::Sled(tree) => tree.get(key),
            Self::Memory(tree) => Ok(tree.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()),
        }
    }

    pub(super) fn contains(&self, key: &[u8]) -> sled::Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    // Each change by itself: sled takes twenty times as long for a batch of one, and longer for any batch. None has to be
    // atomic, since an index that was not closed is filled from the layout.

    pub(super) fn insert(&self, key: impl Into<IVec>, value: impl Into<IVec>) -> sled::Result<()> {
        let (key, value) = (key.into(), value.into());
        match self {
            Self::Sled(tree) => tree.insert(key, value).map(drop),
            Self::Memory(tree) => {
                tree.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
                Ok(())
            }
        }
    }

    pub(super) fn remove(&self, key: impl AsRef<[u8]>) -> sled::Result<()> {
        match self {
            Self::Sled(tree) => tree.remove(key).map(drop),
            Self::Memory(tree) => {
                tree.write().unwrap_or_else(PoisonError::into_inner).remove(key.as_ref());
                Ok(())
            }
        }
    }

    /// Adds all that another tree has.
    pub(super) fn copy(&self, from: &Self) -> sled::Result<()> {
        let all = from.scan(b"")?;
        for begin in 0..STRIDE {
            for (key, value) in all.iter().skip(begin).step_by(STRIDE) {
                self.insert(key, value)?;
            }
        }
        Ok(())
    }

    /// Bytes of all keys and values.
    pub(super) fn bytes(&self) -> sled::Result<u64> {
        let mut bytes = 0;
        self.each(|key, value| {
            bytes += (key.len() + value.len()) as u64;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Calls `with` for everything, one after the other: all of it may be much.
    pub(super) fn each(&self, mut with: impl FnMut(IVec, IVec) -> sled::Result<()>) -> sled::Result<()> {
        match self {
            Self::Sled(tree) => {
                tree.iter().try_for_each(|entry| entry.and_then(|(key, value)| with(key, value)))
            }
            Self::Memory(tree) => {
                let tree = tree.read().unwrap_or_else(PoisonError::into_inner);
                tree.iter().try_for_each(|(key, value)| with(key.clone(), value.clone()))
            }
        }
    }

    /// Everything whose key begins so.
    pub(super) fn scan(&self, prefix: &[u8]) -> sled::Result<Vec<(IVec, IVec)>> {
        match self {
            Self::Sled(tree) => tree.scan_prefix(prefix).collect(),
            Self::Memory(tree) => {
                let tree = tree.read().unwrap_or_else(PoisonError::into_inner);
                let from = tree.range(IVec::from(prefix)..);
                let found = from.take_while(|(key, _)| key.starts_with(prefix));
                Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [Tree; 2] {
        let db = sled::Config::new().temporary(true).open().expect("sled");
        [Tree::in_memory(), Tree::Sled(db.open_tree("tree").expect("a tree"))]
    }

    fn keys(tree: &Tree, prefix: &[u8]) -> Vec<IVec> {
        tree.scan(prefix).expect("read").into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_tree_in_memory_is_as_one_of_sleds() {
        for tree in both() {
            for key in ["b", "a/2", "a/1"] {
                tree.insert(key, key.as_bytes()).expect("written");
            }
            assert_eq!(keys(&tree, b"a/"), [IVec::from("a/1"), IVec::from("a/2")]);
            tree.insert("c", "3").expect("written");
            for key in ["a/1", "b"] {
                tree.remove(key).expect("removed");
            }
            assert_eq!(keys(&tree, b""), [IVec::from("a/2"), IVec::from("c")]);
            assert_eq!(tree.bytes().expect("read"), 8);
            assert_eq!(tree.get(b"c").expect("read"), Some(IVec::from("3")));
            assert!(!tree.contains(b"a/1").expect("read"));
        }
    }
}
