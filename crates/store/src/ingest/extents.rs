//! What of a content is written beyond its first gap.

use std::collections::BTreeMap;
use std::ops::Range;

/// Pieces beyond the first gap, by where they begin. There are as many as connections, and no more.
#[derive(Debug, Default)]
pub(super) struct Extents(BTreeMap<u64, u64>);

impl Extents {
    pub(super) fn add(&mut self, piece: Range<u64>) {
        let before = self.0.range_mut(..=piece.start).next_back();
        match before {
            Some((_, end)) if *end == piece.start => *end = piece.end,
            _ => drop(self.0.insert(piece.start, piece.end)),
        }
    }

    /// Where the pieces end that follow each other from `start` on.
    pub(super) fn take_from(&mut self, start: u64) -> Option<u64> {
        let mut end = self.0.remove(&start)?;
        while let Some(next) = self.0.remove(&end) {
            end = next;
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_end_at_the_next_gap() {
        let mut extents = Extents::default();
        for range in [40..50, 10..20, 20..25, 25..30] {
            extents.add(range);
        }
        assert_eq!(extents.take_from(0), None);
        assert_eq!(extents.take_from(10), Some(30));
        assert_eq!(extents.take_from(30), None);
        assert_eq!(extents.take_from(40), Some(50));
    }
}
