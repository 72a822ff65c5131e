//! What a layer has made, as far as later entries and the end need it. Bounded, whatever a layer has.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::error::Error;
use crate::tar::Time;

/// Paths that a layer may make, at most: 300 MiB of [`Made`].
const PATHS: usize = 16 << 20;
/// Bytes of directories, at most.
const BYTES: usize = 256 << 20;
/// Bytes of a directory beside its path.
const OVERHEAD: usize = 100;

/// The paths that a layer has made. It has their hashes, by a key that nobody can know: a path has hundreds of bytes.
#[derive(Default)]
pub(super) struct Made {
    key: RandomState,
    hashes: HashSet<u64>,
}

impl Made {
    pub(super) fn insert(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.hashes.insert(self.key.hash_one(path)) && self.hashes.len() > PATHS {
            return Err(Error::invalid("it makes more than 16 million paths"));
        }
        Ok(())
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.hashes.contains(&self.key.hash_one(path))
    }
}

/// The times of directories by the paths that entries have, and which came when.
#[derive(Default)]
pub(super) struct Directories {
    times: HashMap<Vec<u8>, (usize, Option<Time>, Time)>,
    inserted: usize,
    bytes: usize,
}

impl Directories {
    /// The last entry of a path counts.
    pub(super) fn insert(
        &mut self,
        path: Vec<u8>,
        accessed: Option<Time>,
        modified: Time,
    ) -> Result<(), Error> {
        self.inserted += 1;
        let size = path.len() + OVERHEAD;
        if self.times.insert(path, (self.inserted, accessed, modified)).is_none() {
            self.bytes += size;
        }
        if self.bytes > BYTES {
            return Err(Error::invalid("the paths of its directories have more than 256 MiB"));
        }
        Ok(())
    }

    /// All of them, in the order of their last entries: several paths may lead to one directory.
    pub(super) fn take(&mut self) -> Vec<(Vec<u8>, Option<Time>, Time)> {
        let mut all: Vec<_> = std::mem::take(&mut self.times).into_iter().collect();
        all.sort_unstable_by_key(|(_, (when, ..))| *when);
        all.into_iter().map(|(path, (_, accessed, modified))| (path, accessed, modified)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Time;

    #[test]
    fn directories_come_in_the_order_of_their_last_entries() {
        let mut directories = Directories::default();
        for (path, seconds) in [("a", 1), ("b", 2), ("a", 3)] {
            directories.insert(path.into(), None, Time { seconds, nanoseconds: 0 }).expect("room");
        }
        let order: Vec<_> =
            directories.take().into_iter().map(|(path, _, time)| (path, time.seconds)).collect();
        assert_eq!(order, [(b"b".to_vec(), 2), (b"a".to_vec(), 3)]);
    }

    #[test]
    fn the_same_directory_again_and_again_takes_no_memory() {
        let mut directories = Directories::default();
        for at in 0..BYTES / OVERHEAD + 1 {
            let time = Time { seconds: at as i64, nanoseconds: 0 };
            directories.insert(b"the same".to_vec(), None, time).expect("room");
        }
        assert_eq!(directories.take().len(), 1);
    }

    #[test]
    fn directories_take_a_bounded_amount_of_memory() {
        let mut directories = Directories::default();
        let long = vec![b'x'; 1 << 20];
        let mut insert = |at: usize| {
            let path = [&long[..], at.to_string().as_bytes()].concat();
            directories.insert(path, None, Time { seconds: 0, nanoseconds: 0 })
        };
        assert!((0..255).all(|at| insert(at).is_ok()));
        assert!((255..257).any(|at| insert(at).is_err()));
    }
}
