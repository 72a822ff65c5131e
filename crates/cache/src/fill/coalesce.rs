//! Write coalescing: pieces of a blob's parts whose turn has not come are gathered in memory, so that they are written in
//! long runs. The system keeps a file in units as large as it was written, and every later reading costs by the unit.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Runs of pieces that follow each other: one for each connection that fetches a part, and no more.
pub(super) struct Coalescer {
    /// How long a run becomes at most, in bytes; then it is written, whether its turn has come or not.
    longest: u64,
    /// By where they begin.
    runs: BTreeMap<u64, Run>,
}

#[derive(Default)]
struct Run {
    pieces: Vec<Bytes>,
    bytes: u64,
}

impl Coalescer {
    pub(super) const fn new(longest: u64) -> Self {
        Self { longest, runs: BTreeMap::new() }
    }

    /// Adds `bytes`, which belong at `offset`. Returns the run, with its place, once it is long enough.
    pub(super) fn add(&mut self, offset: u64, bytes: Bytes) -> Option<(u64, Vec<Bytes>)> {
        let before = self.runs.range(..offset).next_back();
        let start =
            before.filter(|(start, run)| *start + run.bytes == offset).map_or(offset, |(start, _)| *start);
        let run = self.runs.entry(start).or_default();
        run.bytes += bytes.len() as u64;
        run.pieces.push(bytes);
        if run.bytes < self.longest { None } else { self.take(start).map(|pieces| (start, pieces)) }
    }

    /// Removes the run that begins at `offset`, because its turn has come.
    pub(super) fn take(&mut self, offset: u64) -> Option<Vec<Bytes>> {
        self.runs.remove(&offset).map(|run| run.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Bytes = Bytes::from_static(b"abc");

    #[test]
    fn pieces_that_follow_each_other_come_back_as_one_run_when_it_is_long_enough() {
        let mut runs = Coalescer::new(9);
        assert_eq!(runs.add(100, ABC), None);
        assert_eq!(runs.add(200, ABC), None);
        assert_eq!(runs.add(103, ABC), None);
        assert_eq!(runs.add(106, ABC), Some((100, vec![ABC; 3])));
        assert_eq!(runs.take(100), None, "it was given out");
        assert_eq!(runs.add(109, ABC), None, "a new run begins behind it");
    }

    #[test]
    fn a_run_is_taken_by_where_it_begins_and_by_nothing_else() {
        let mut runs = Coalescer::new(9);
        runs.add(100, ABC);
        runs.add(103, ABC);
        assert_eq!(runs.take(103), None);
        assert_eq!(runs.take(100), Some(vec![ABC; 2]));
    }
}
