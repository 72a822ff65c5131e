//! The parts of a content that are still to be fetched, from the front on.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A part has so many bytes at least: a registry counts requests, whatever they bring.
const SMALLEST_PART: u64 = 8 << 20;
/// A content has so many parts at most: two for each connection, so that a slow one is not waited for long.
const MOST_PARTS: u64 = 16;

/// The rest of a part is shared with a connection that has nothing left to do when it has so many bytes and would take so long.
const WORTH_SHARING: u64 = 4 << 20;
const SHARED_AFTER: Duration = Duration::from_secs(1);
/// So many times at most for one content: each costs a request.
const MOST_SHARES: usize = 8;
/// How often who has nothing left to do looks whether a part has become slow.
const LOOK: Duration = Duration::from_millis(250);

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

/// A part that a connection is to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// No other part of the content has this number.
    pub(super) id: usize,
    /// Its bytes. Where the connection is slow another one takes the last of them.
    pub(super) range: Range<u64>,
}

/// The number of the part that the first connection fetches.
pub(super) const FIRST: usize = 0;

struct State {
    parts: Parts,
    /// Where the next part begins, and its number.
    next: u64,
    id: usize,
    given_back: VecDeque<Range<u64>>,
    /// How many times a part was shared.
    shares: usize,
    /// The parts that are being fetched, the first connection's own among them.
    taken: BTreeMap<usize, Taken>,
    /// How many connections fetch parts.
    running: usize,
}

/// A part that is being fetched.
#[derive(Debug, Clone, Copy)]
struct Taken {
    start: u64,
    /// The next byte.
    at: u64,
    end: u64,
    since: Instant,
}

impl Taken {
    fn new(Range { start, end }: Range<u64>) -> Self {
        Self { start, at: start, end, since: Instant::now() }
    }

    const fn left(&self) -> u64 {
        self.end - self.at
    }

    /// From where on another connection may take it, where it is slow: half of the rest, and all of it where nothing has come.
    fn shared_from(&self, now: Instant) -> Option<u64> {
        let took = now.saturating_duration_since(self.since);
        // Bytes of a content are far from f64's limits.
        let rate = (self.at - self.start) as f64 / took.as_secs_f64();
        let is_slow = took >= SHARED_AFTER && self.left() as f64 > rate * SHARED_AFTER.as_secs_f64();
        let from = if self.at == self.start { self.at } else { self.at + self.left() / 2 };
        (self.left() >= WORTH_SHARING && is_slow).then_some(from)
    }
}

enum Next {
    Part(Part),
    /// Nothing before an older part is complete.
    Later,
    /// Nothing unless a part turns out to be slow.
    Perhaps,
    Nothing,
}

impl Queue {
    /// Parts from byte `next` on; the first connection is at `first`, and goes on to `stop`.
    pub(super) fn new(parts: Parts, first: u64, stop: u64, next: u64) -> Self {
        let taken = BTreeMap::from([(FIRST, Taken::new(first..stop))]);
        let state =
            State { parts, next, id: FIRST, given_back: VecDeque::new(), shares: 0, taken, running: 0 };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.state().parts.size
    }

    /// Takes a part, as soon as the window allows one, or shares one that is slow; `None` when there is no more.
    pub(super) async fn take(&self) -> Option<Part> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Before the look, so that no change is missed after it.
            changed.as_mut().enable();
            let next = self.state().next();
            match next {
                Next::Part(part) => return Some(part),
                Next::Nothing => return None,
                Next::Later => changed.await,
                Next::Perhaps => drop(timeout(LOOK, changed).await),
            }
        }
    }

    /// A part is complete.
    pub(super) fn finish(&self, id: usize) {
        self.state().taken.remove(&id);
        self.changed.notify_waiters();
    }

    /// Gives back what is left of a part.
    pub(super) fn give_back(&self, id: usize) {
        let mut state = self.state();
        if let Some(part) = state.taken.remove(&id).filter(|part| part.left() > 0) {
            state.given_back.push_front(part.at..part.end);
        }
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

    /// The connection that fetches a part has so many bytes more; gives back how many of them are still its own, and whether
    /// these were the last.
    pub(super) fn advance(&self, id: usize, length: usize) -> (usize, bool) {
        let mut state = self.state();
        let Some(part) = state.taken.get_mut(&id) else { return (0, true) };
        let kept = usize::try_from(part.left()).unwrap_or(length).min(length);
        part.at += kept as u64;
        (kept, part.left() == 0)
    }

    /// Whether the first connection goes on to the content's end.
    pub(super) fn has_only_first(&self) -> bool {
        let state = self.state();
        state.taken.get(&FIRST).is_some_and(|part| part.end == state.parts.size)
    }

    /// Lets the first connection stop at `stop`, unless it stops earlier; false when it is past that already.
    pub(super) fn stop_first_at(&self, stop: u64) -> bool {
        let mut state = self.state();
        let Some(part) = state.taken.get_mut(&FIRST) else { return true };
        let is_in_time = part.at <= stop;
        if is_in_time {
            part.end = part.end.min(stop);
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
        let range = match self.given_back.pop_front() {
            Some(range) => range,
            None => {
                let Parts { size, length, window } = self.parts;
                let range = self.next..(self.next + length).min(size);
                if range.is_empty() {
                    return self.share(Instant::now());
                }
                let oldest = self.taken.values().map(|part| part.start).min();
                if oldest.is_some_and(|oldest| range.start - oldest >= window) {
                    return Next::Later;
                }
                self.next = range.end;
                range
            }
        };
        self.begin(range)
    }

    fn begin(&mut self, range: Range<u64>) -> Next {
        self.id += 1;
        self.taken.insert(self.id, Taken::new(range.clone()));
        Next::Part(Part { id: self.id, range })
    }

    /// Some of a part that another connection fetches slowly. Otherwise a content would take as long as its slowest part.
    fn share(&mut self, now: Instant) -> Next {
        if self.shares == MOST_SHARES {
            return Next::Nothing;
        }
        let slow = self.taken.values_mut().filter_map(|part| Some((part.shared_from(now)?, part)));
        let Some((from, slow)) = slow.max_by_key(|(from, part)| part.end - from) else {
            let is_worth_waiting = self.taken.values().any(|part| part.left() >= WORTH_SHARING);
            return if is_worth_waiting { Next::Perhaps } else { Next::Nothing };
        };
        let range = from..slow.end;
        slow.end = from;
        self.shares += 1;
        self.begin(range)
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
        Some(queue.take().now_or_never()?.map(|part| part.range))
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
        queue.advance(1, 3);
        queue.give_back(1);
        assert_eq!(take(&queue), Some(Some(13..20)));
        assert_eq!(take(&queue), Some(Some(30..40)));
    }

    #[test]
    fn a_part_beyond_the_window_waits_for_the_oldest_one() {
        let queue = queue(20);
        assert_eq!(take(&queue), Some(Some(10..20)));
        assert_eq!(take(&queue), None, "20 bytes ahead of the first connection");
        queue.finish(FIRST);
        assert_eq!(take(&queue), Some(Some(20..30)));
        assert_eq!(take(&queue), None, "20 bytes ahead of the part at 10");
        queue.advance(1, 5);
        queue.give_back(1);
        assert_eq!(take(&queue), Some(Some(15..20)));
        assert_eq!(take(&queue), Some(Some(30..40)));
    }

    #[test]
    fn all_that_is_missing_is_taken_in_order() {
        let queue = queue(u64::MAX);
        take(&queue);
        take(&queue);
        queue.advance(2, 5);
        queue.give_back(2);
        queue.give_back(1);
        assert_eq!(queue.take_all(), [10..20, 25..30, 30..45]);
        assert_eq!(take(&queue), Some(None));
    }

    #[tokio::test]
    async fn who_waits_for_the_window_hears_of_its_move() {
        let queue = queue(10);
        let (part, ()) = tokio::join!(queue.take(), async { queue.finish(FIRST) });
        assert_eq!(part.map(|part| part.range), Some(10..20));
    }

    #[test]
    fn the_first_connection_stops_where_a_part_begins_unless_it_is_past_that() {
        let queue = Queue::new(Parts { size: 45, length: 10, window: u64::MAX }, 0, 45, 10);
        assert!(queue.has_only_first());
        assert_eq!(queue.advance(FIRST, 8), (8, false));
        assert!(queue.stop_first_at(10));
        assert!(queue.stop_first_at(20), "it stops earlier already");
        assert_eq!(queue.advance(FIRST, 8), (2, true));
        assert!(!queue.stop_first_at(5) && !queue.has_only_first());
    }

    /// Two parts, which are taken, and the number of the second.
    fn two_parts() -> Queue {
        let parts = Parts { size: 32 << 20, length: 16 << 20, window: u64::MAX };
        let queue = Queue::new(parts, 0, 16 << 20, 16 << 20);
        assert_eq!(take(&queue), Some(Some(16 << 20..32 << 20)));
        queue
    }

    /// What who has nothing left to do takes a little later.
    fn share(queue: &Queue) -> Option<Range<u64>> {
        match queue.state().share(Instant::now() + SHARED_AFTER) {
            Next::Part(part) => Some(part.range),
            _ => None,
        }
    }

    #[tokio::test]
    async fn who_has_nothing_left_to_do_takes_half_of_what_is_left_of_a_slow_part() {
        let queue = two_parts();
        queue.advance(FIRST, 15 << 20);
        queue.advance(1, 1 << 20);
        assert_eq!(take(&queue), None, "it is too early to tell");
        let half = (17 << 20) + (15 << 19);
        assert_eq!(share(&queue), Some(half..32 << 20));
        assert_eq!(queue.advance(1, 15 << 20), (15 << 19, true), "the slow one stops there");
    }

    #[test]
    fn a_part_of_which_nothing_comes_is_taken_over_as_a_whole() {
        let queue = two_parts();
        queue.advance(FIRST, 16 << 20);
        queue.finish(FIRST);
        assert_eq!(share(&queue), Some(16 << 20..32 << 20));
        assert_eq!(queue.advance(1, 1), (0, true));
        assert_eq!(queue.advance(2, 1), (1, false));
    }

    #[test]
    fn nobody_takes_what_will_be_here_soon() {
        let queue = two_parts();
        queue.advance(FIRST, 16 << 20);
        queue.advance(1, 13 << 20);
        assert_eq!(share(&queue), None);
        assert_eq!(take(&queue), Some(None), "less than is worth a request");
    }
}
