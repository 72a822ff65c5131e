//! The parts of a content that are still to be fetched, from the front on.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A part has so many bytes at least: a registry counts requests, whatever they bring.
const SMALLEST_PART: u64 = 8 << 20;
/// A content has so many parts at most: two for each connection, so that a slow one is not waited for long.
const MOST_PARTS: u64 = 16;

/// The length of the parts, all alike, of `left` bytes; `None` where these are too few for more than one part.
pub(super) fn part_length(left: u64) -> Option<u64> {
    let parts = (left / SMALLEST_PART).min(MOST_PARTS);
    (parts > 1).then(|| left.div_ceil(parts))
}

/// The parts of one content, for all its connections.
pub(super) struct Queue {
    state: Mutex<State>,
    /// A part has ended, or was given back.
    changed: Notify,
}

/// How a content is divided into parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// The content's length in bytes.
    pub(super) size: u64,
    /// A part's length in bytes.
    pub(super) length: u64,
    /// No part is taken that begins so many bytes or more behind the oldest one that is not complete. This bounds the
    /// memory of a reader that wants the bytes in order.
    pub(super) window: u64,
}

struct State {
    parts: Parts,
    /// Where the first connection is, and where it stops because a part begins there.
    first: u64,
    stop: u64,
    /// Where the next part begins.
    next: u64,
    given_back: VecDeque<Range<u64>>,
    /// Where the parts begin that are being fetched, the first connection's own among them.
    taken: BTreeSet<u64>,
    /// How many connections fetch parts.
    running: usize,
}

enum Next {
    Part(Range<u64>),
    /// Nothing before an older part is complete.
    Later,
    Nothing,
}

impl Queue {
    /// Parts from byte `next` on; the first connection is at `first`, and goes on to `stop`.
    pub(super) fn new(parts: Parts, first: u64, stop: u64, next: u64) -> Self {
        let (given_back, taken) = (VecDeque::new(), BTreeSet::from([first]));
        let state = State { parts, first, stop, next, given_back, taken, running: 0 };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.state().parts.size
    }

    /// Takes a part, as soon as the window allows one; `None` when there is no more.
    pub(super) async fn take(&self) -> Option<Range<u64>> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Before the look, so that no change is missed after it.
            changed.as_mut().enable();
            let next = self.state().next();
            match next {
                Next::Part(part) => return Some(part),
                Next::Nothing => return None,
                Next::Later => changed.await,
            }
        }
    }

    /// The part that began at `start` is complete.
    pub(super) fn finish(&self, start: u64) {
        self.state().taken.remove(&start);
        self.changed.notify_waiters();
    }

    /// Gives back what is left of the part that began at `start`.
    pub(super) fn give_back(&self, start: u64, left: Range<u64>) {
        let mut state = self.state();
        state.taken.remove(&start);
        state.given_back.push_front(left);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes everything that is not fetched, in order. Nobody else fetches any more.
    pub(super) fn take_all(&self) -> Vec<Range<u64>> {
        let mut state = self.state();
        let rest = state.next..state.parts.size;
        state.next = rest.end;
        let mut all: Vec<Range<u64>> = state.given_back.drain(..).chain([rest]).collect();
        all.retain(|part| !part.is_empty());
        all.sort_unstable_by_key(|part| part.start);
        all
    }

    /// The first connection has bytes from `offset` on; gives back how many of them are still its own.
    pub(super) fn advance_first(&self, offset: u64, length: usize) -> usize {
        let mut state = self.state();
        let kept = usize::try_from(state.stop - offset).unwrap_or(length).min(length);
        state.first = offset + kept as u64;
        kept
    }

    /// Where the first connection stops.
    pub(super) fn stop(&self) -> u64 {
        self.state().stop
    }

    /// Lets the first connection stop at `stop`; false when it is past that already.
    pub(super) fn stop_first_at(&self, stop: u64) -> bool {
        let mut state = self.state();
        let is_in_time = state.first <= stop;
        if is_in_time {
            state.stop = stop;
        }
        is_in_time
    }

    /// One more connection will fetch parts.
    pub(super) fn join(&self) {
        self.state().running += 1;
    }

    /// A connection fetches no more parts; true when it was the last one.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state();
        state.running -= 1;
        state.running == 0
    }

    /// Whether one connection is left.
    pub(super) fn has_one_left(&self) -> bool {
        self.state().running <= 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Next {
        let part = match self.given_back.pop_front() {
            Some(part) => part,
            None => {
                let Parts { size, length, window } = self.parts;
                let part = self.next..(self.next + length).min(size);
                if part.is_empty() {
                    return Next::Nothing;
                }
                if self.taken.first().is_some_and(|oldest| part.start - oldest >= window) {
                    return Next::Later;
                }
                self.next = part.end;
                part
            }
        };
        self.taken.insert(part.start);
        Next::Part(part)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn parts_are_few_and_none_is_small() {
        const MIB: u64 = 1 << 20;
        for left in [16 * MIB, 17 * MIB + 1, 100 * MIB - 1, 128 * MIB, 300 * MIB, 5 << 30, 1 << 40] {
            let length = part_length(left).expect("parts");
            let (whole, rest) = (left / length, left % length);
            assert!(whole + u64::from(rest > 0) <= MOST_PARTS, "{left}: {length}");
            // The last part is shorter by what the others are rounded up.
            assert!(rest == 0 || rest + MOST_PARTS > SMALLEST_PART, "{left}: {length} and {rest}");
        }
    }

    #[test]
    fn what_is_too_short_for_two_parts_has_none() {
        assert_eq!(part_length(0), None);
        assert_eq!(part_length((16 << 20) - 1), None);
        assert_eq!(part_length(16 << 20), Some(8 << 20));
    }

    /// Parts of 10 bytes from byte 10 on; the first connection has those before.
    fn queue(window: u64) -> Queue {
        Queue::new(Parts { size: 45, length: 10, window }, 0, 10, 10)
    }

    fn take(queue: &Queue) -> Option<Option<Range<u64>>> {
        queue.take().now_or_never()
    }

    #[test]
    fn parts_follow_each_other_to_the_end() {
        let queue = queue(u64::MAX);
        for part in [10..20, 20..30, 30..40, 40..45] {
            assert_eq!(take(&queue), Some(Some(part)));
        }
        assert_eq!(take(&queue), Some(None));
    }

    #[test]
    fn a_part_that_is_given_back_is_the_next() {
        let queue = queue(u64::MAX);
        take(&queue);
        take(&queue);
        queue.give_back(10, 13..20);
        assert_eq!(take(&queue), Some(Some(13..20)));
        assert_eq!(take(&queue), Some(Some(30..40)));
    }

    #[test]
    fn a_part_beyond_the_window_waits_for_the_oldest_one() {
        let queue = queue(20);
        assert_eq!(take(&queue), Some(Some(10..20)));
        assert_eq!(take(&queue), None, "20 bytes ahead of the first connection");
        queue.finish(0);
        assert_eq!(take(&queue), Some(Some(20..30)));
        assert_eq!(take(&queue), None, "20 bytes ahead of the part at 10");
        queue.give_back(10, 15..20);
        assert_eq!(take(&queue), Some(Some(15..20)));
        assert_eq!(take(&queue), Some(Some(30..40)));
    }

    #[test]
    fn all_that_is_missing_is_taken_in_order() {
        let queue = queue(u64::MAX);
        take(&queue);
        take(&queue);
        queue.give_back(20, 25..30);
        queue.give_back(10, 10..20);
        assert_eq!(queue.take_all(), [10..20, 25..30, 30..45]);
        assert_eq!(take(&queue), Some(None));
    }

    #[tokio::test]
    async fn who_waits_for_the_window_hears_of_its_move() {
        let queue = queue(10);
        let (part, ()) = tokio::join!(queue.take(), async { queue.finish(0) });
        assert_eq!(part, Some(10..20));
    }

    #[test]
    fn the_first_connection_stops_where_a_part_begins_unless_it_is_past_that() {
        let queue = Queue::new(Parts { size: 45, length: 10, window: u64::MAX }, 0, 45, 10);
        assert_eq!(queue.advance_first(0, 8), 8);
        assert!(queue.stop_first_at(10));
        assert_eq!(queue.advance_first(8, 8), 2);
        assert!(!queue.stop_first_at(5));
    }
}
