//! The tail of a growing content, still in memory: readers that keep pace with the writer take it from here instead of
//! reading it back from the file.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use crate::memory::Budgeted;
use crate::mutex::lock;

/// Pieces of one content that are kept: a reader further behind reads the file.
const KEPT: usize = 32;

/// The last pieces of one growing content, each with its place.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<VecDeque<(u64, Budgeted)>>);

impl Tail {
    /// Keeps a piece that is written already, as long as the memory budget allows.
    pub(crate) fn keep(&self, offset: u64, bytes: &Bytes) {
        let piece = Budgeted::take(bytes);
        let mut pieces = lock(&self.0);
        if pieces.len() >= KEPT || piece.is_none() {
            pieces.pop_front();
        }
        pieces.extend(piece.map(|piece| (offset, piece)));
    }

    /// The bytes from `position` on that are in one piece, if they are here.
    pub(crate) fn find(&self, position: u64) -> Option<Bytes> {
        lock(&self.0).iter().rev().find_map(|(offset, piece)| {
            let skipped = usize::try_from(position.checked_sub(*offset)?).ok()?;
            (skipped < piece.bytes().len()).then(|| piece.bytes().slice(skipped..))
        })
    }

    /// Drops everything: nothing more is written.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pieces_are_found_at_any_of_their_bytes() {
        let tail = Tail::default();
        for piece in 0..44_u8 {
            tail.keep(u64::from(piece) * 10, &Bytes::from(vec![piece; 10]));
        }
        assert_eq!(tail.find(435), Some(Bytes::from_static(&[43; 5])));
        assert_eq!(tail.find(120), Some(Bytes::from_static(&[12; 10])));
        assert_eq!((tail.find(440), tail.find(0), tail.find(119)), (None, None, None));
        tail.clear();
        assert_eq!(tail.find(435), None);
    }
}
