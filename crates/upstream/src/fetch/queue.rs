//! The parts of a content that are still to be fetched, from the front on.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::pin;
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
/// How often who has nothing left to do looks whether a part has become slow, or the whole.
const LOOK: Duration = Duration::from_millis(250);
/// One more connection is worth it where the rest would take longer than this.
const WORTH: Duration = Duration::from_secs(1);

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
    /// Bytes that came since then, and those that are still to come.
    since: Instant,
    brought: u64,
    left: u64,
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

/// Whether one more connection would have something to fetch that is worth it.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Now,
    /// Where what is left turns out to be slow.
    Perhaps,
    Never,
}

impl Queue {
    /// Parts from byte `next` on; the first connection is at `first`, and goes on to `stop`.
    pub(super) fn new(parts: Parts, first: u64, stop: u64, next: u64) -> Self {
        let taken = BTreeMap::from([(FIRST, Taken::new(first..stop))]);
        let state = State {
            parts,
            next,
            id: FIRST,
            given_back: VecDeque::new(),
            shares: 0,
            taken,
            running: 0,
            since: Instant::now(),
            brought: 0,
            left: parts.size.saturating_sub(first),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// The same, where so many bytes came in this time before.
    pub(super) fn after(self, bytes: u64, elapsed: Duration) -> Self {
        {
            let mut state = self.state();
            state.since = state.since.checked_sub(elapsed).unwrap_or(state.since);
            state.brought = bytes;
        }
        self
    }

    pub(super) fn size(&self) -> u64 {
        self.state().parts.size
    }

    /// Takes a part, as soon as the window allows one, or shares one that is slow; `None` when there is no more.
    pub(super) async fn take(&self) -> Option<Part> {
        self.until(|state| match state.next() {
            Next::Part(part) => Some(Some(part)),
            Next::Later | Next::Perhaps => None,
            Next::Nothing => Some(None),
        })
        .await
    }

    /// The same for who does not wait for a part to become slow.
    pub(super) async fn take_now(&self) -> Option<Part> {
        self.until(|state| match state.next() {
            Next::Part(part) => Some(Some(part)),
            Next::Later => None,
            Next::Perhaps | Next::Nothing => Some(None),
        })
        .await
    }

    /// Waits until one more connection would have something to fetch that is worth it; false when it never will.
    pub(super) async fn wants_more(&self) -> bool {
        self.until(|state| match state.wanted(Instant::now()) {
            Wanted::Now => Some(true),
            Wanted::Perhaps => None,
            Wanted::Never => Some(false),
        })
        .await
    }

    /// Whether one more connection would have something to fetch now that is worth it.
    pub(super) fn wants_now(&self) -> bool {
        self.state().wanted(Instant::now()) == Wanted::Now
    }

    /// Waits until one more connection would never have anything to fetch.
    pub(super) async fn wants_no_more(&self) {
        self.until(|state| (state.wanted(Instant::now()) == Wanted::Never).then_some(())).await;
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
        let is_last = part.left() == 0;
        state.brought += kept as u64;
        state.left = state.left.saturating_sub(kept as u64);
        (kept, is_last)
    }

    /// Whether the first connection goes on to the content's end.
    pub(super) fn has_only_first(&self) -> bool {
        self.state().only_first().is_some()
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

    /// Looks until something is found: again when a part has ended, and after a while, since a part may have become slow.
    async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look, so that no change is missed after it.
            changed.as_mut().enable();
            let found = look(&mut self.state());
            match found {
                Some(found) => return found,
                None => drop(timeout(LOOK, changed).await),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first connection, where it goes on to the content's end.
    fn only_first(&self) -> Option<&Taken> {
        self.taken.get(&FIRST).filter(|part| part.end == self.parts.size)
    }

    /// Divides what is left into parts once more, while the first connection goes on to the end: it may have come far before
    /// there was a place for another one.
    fn divide(&mut self) {
        let Some(left) = self.only_first().map(Taken::left) else { return };
        self.next = self.parts.size;
        if let Some(length) = part_length(left) {
            self.next -= left - length;
            self.parts.length = length;
        }
    }

    fn wanted(&mut self, now: Instant) -> Wanted {
        self.divide();
        let has_parts = !self.given_back.is_empty() || self.next < self.parts.size;
        let took = now.saturating_duration_since(self.since).as_secs_f64();
        // Bytes of a content are far from f64's limits.
        let is_slow = self.left as f64 * took.max(1e-6) > self.brought as f64 * WORTH.as_secs_f64();
        // What the last connection gave back just when nobody fetched any more is for whoever comes.
        let is_worth_it = is_slow || self.running == 0;
        if has_parts && is_worth_it || !has_parts && self.slow_part(now).is_some() {
            return Wanted::Now;
        }
        if has_parts || self.may_share() { Wanted::Perhaps } else { Wanted::Never }
    }

    fn next(&mut self) -> Next {
        self.divide();
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
        let Some((from, slow)) = self.slow_part(now) else {
            return if self.may_share() { Next::Perhaps } else { Next::Nothing };
        };
        let range = from..slow.end;
        slow.end = from;
        self.shares += 1;
        self.begin(range)
    }

    /// The slow part of which another connection may take most, and from where on.
    fn slow_part(&mut self, now: Instant) -> Option<(u64, &mut Taken)> {
        let may_share = self.may_share();
        let slow = self.taken.values_mut().filter_map(|part| Some((part.shared_from(now)?, part)));
        slow.max_by_key(|(from, part)| part.end - from).filter(|_| may_share)
    }

    /// Whether a part would be shared if it was slow.
    fn may_share(&self) -> bool {
        self.shares < MOST_SHARES && self.taken.values().any(|part| part.left() >= WORTH_SHARING)
    }
}

#[cfg(test)]
mod tests;
