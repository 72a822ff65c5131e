//! What was written last, still in memory: readers that keep pace with a writer take it from here instead of reading it
//! back from the file.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;

use crate::memory::Held;
use crate::mutex::lock;

/// Pieces of one content that are kept: a reader further behind reads the file.
const KEPT: usize = 32;

/// The last pieces of one growing content, each with its place.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<VecDeque<(u64, Held)>>);

impl Latest {
    /// Keeps a piece that is written already, as long as memory allows.
    pub(crate) fn keep(&self, offset: u64, bytes: &Bytes) {
        let held = Held::hold(bytes);
        let mut pieces = lock(&self.0);
        if pieces.len() >= KEPT || held.is_none() {
            pieces.pop_front();
        }
        pieces.extend(held.map(|held| (offset, held)));
    }

    /// The bytes from `position` on that are in one piece, if they are here.
    pub(crate) fn find(&self, position: u64) -> Option<Bytes> {
        lock(&self.0).iter().rev().find_map(|(offset, held)| {
            let skipped = usize::try_from(position.checked_sub(*offset)?).ok()?;
            (skipped < held.bytes().len()).then(|| held.bytes().slice(skipped..))
        })
    }

    /// Lets go of everything: nothing more comes.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_found_at_any_of_its_bytes_and_nothing_else_is() {
        let latest = Latest::default();
        for piece in 0..44_u8 {
            latest.keep(u64::from(piece) * 10, &Bytes::from(vec![piece; 10]));
        }
        assert_eq!(latest.find(435), Some(Bytes::from_static(&[43; 5])));
        assert_eq!(latest.find(120), Some(Bytes::from_static(&[12; 10])));
        assert_eq!((latest.find(440), latest.find(0), latest.find(119)), (None, None, None));
        latest.clear();
        assert_eq!(latest.find(435), None);
    }
}
