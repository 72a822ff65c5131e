//! One content over several connections, where an origin limits each of them.
//!
//! It begins as one plain GET. When that would take a while longer, one part of what is still to come is asked for beside
//! it; only when the origin gives exactly that are there more connections. Before that it is asked for bytes that are here
//! already, since some servers say one range and send another. Where other contents hold all places, connections begin as
//! soon as these have ended, if the rest is worth them then; a connection that has nothing to fetch holds no place. Parts are
//! taken from the front, so that a reader that follows the content in order never waits long for one. An origin that refuses
//! parts (a 200, 429, 503) is left with fewer connections, in the end with the first; when none is left, what is missing comes
//! from one plain GET.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::limit::Permits;
use super::queue::{FIRST, Part, Parts, Queue, part_length};
use super::resume::{Fetch, RESUME_AFTER};
use super::source::{Next, Piece, Source};
use crate::error::Error;

/// How long the first connection is watched before anything is decided.
const WATCH: Duration = Duration::from_millis(250);
/// How many bytes that are here already are asked for to see whether ranges are what they are said to be.
const SAMPLE: usize = 4 << 10;
/// Connections for one content.
pub(super) const WIDTH: usize = 8;

/// What the first connection brought; others may have brought more.
#[derive(Debug, Clone, Copy)]
pub struct FirstConnection {
    /// Bytes.
    pub bytes: u64,
    /// How long they took.
    pub elapsed: Duration,
}

/// What fetches a content's parts; a clone is another handle of the same.
#[derive(Clone)]
struct Workers<S> {
    source: S,
    queue: Arc<Queue>,
    pieces: mpsc::Sender<Piece>,
}

/// What a connection does when nothing is left for it, unless a part turns out to be slow.
#[derive(Debug, Clone, Copy)]
enum Idle {
    Waits,
    Leaves,
}

/// How a connection's work ended.
#[derive(Debug, PartialEq, Eq)]
enum Worked {
    /// Nothing was left for it.
    All,
    /// It failed, and others have what it left.
    Failed,
}

impl<S: Source> Fetch<S> {
    /// Streams the rest of the content to `pieces`, in any order, and [`Piece::End`] after them. While after [`WATCH`] the
    /// rest would take longer than a second at the rate so far, more connections fetch it in parts, as soon as the limit has
    /// places for them; the first one stops where the first such part begins.
    ///
    /// # Errors
    /// [`Error`], when no connection can go on, or nothing takes the pieces any more.
    pub async fn stream(self, pieces: &mpsc::Sender<Piece>) -> Result<FirstConnection, Error> {
        let mut running = JoinSet::new();
        let workers = self.call_beside(pieces, &mut running);
        self.run(false, workers, running, pieces).await
    }

    /// The same for a fetch of a first part of `length` bytes: all others are of that length, are fetched by
    /// more connections at once, and none of them is more than `window` bytes ahead of the oldest that is not complete.
    /// No rate is measured first, because the answer to the first part shows that the origin gives ranges.
    pub(super) async fn stream_in_parts(
        self,
        (length, window): (u64, u64),
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<(), Error> {
        let (mut workers, mut running) = (None, JoinSet::new());
        if let (Some(stop), Some(size)) = (self.part_end(), self.size())
            && stop < size
        {
            let queue = Queue::new(Parts { size, length, window }, self.position(), stop, stop);
            let new = Workers::new(&self, queue, pieces);
            new.call_others(1, &mut running);
            workers = Some(new);
        }
        self.run(true, workers, running, pieces).await.map(drop)
    }

    /// Calls connections to another place that has the same bytes: what it brings needs not be waited for here.
    fn call_beside(
        &self,
        pieces: &mpsc::Sender<Piece>,
        running: &mut JoinSet<Result<(), Error>>,
    ) -> Option<Workers<S>> {
        let (beside, size) = self.source().beside().zip(self.size())?;
        let begin = self.position();
        let length = part_length(size.saturating_sub(begin)).filter(|_| !self.is_packed())?;
        let (parts, next) = (Parts { size, length, window: u64::MAX }, begin + length);
        let workers = Workers::new(self, Queue::new(parts, begin, next, next), pieces);
        Workers { source: beside, ..workers.clone() }.call_others(0, running);
        Some(workers)
    }

    async fn run(
        mut self,
        mut decided: bool,
        mut workers: Option<Workers<S>>,
        mut running: JoinSet<Result<(), Error>>,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<FirstConnection, Error> {
        let (started, begun) = (Instant::now(), self.position());
        loop {
            let offset = self.position();
            let Some(mut chunk) = self.chunk().await? else { break };
            let mut is_last = false;
            if let Some(workers) = &workers {
                let (kept, last) = workers.queue.advance(FIRST, chunk.len());
                chunk.truncate(kept);
                is_last = last;
            }
            let end = offset + chunk.len() as u64;
            let sample = chunk.slice(chunk.len().saturating_sub(SAMPLE)..);
            send(pieces, Piece::Chunk { offset, bytes: chunk }).await?;
            let elapsed = started.elapsed();
            if !decided && (elapsed >= WATCH || is_last) {
                decided = true;
                let size = self.size().unwrap_or(0);
                if let Some(length) = part_length(size.saturating_sub(end)).filter(|_| self.has_parts()) {
                    // The first connection goes on to where the first part begins, once another one fetches that.
                    let parts = Parts { size, length, window: u64::MAX };
                    let queue = || Queue::new(parts, end, size, end + length).after(end - begun, elapsed);
                    let workers = workers.get_or_insert_with(|| Workers::new(&self, queue(), pieces));
                    running.spawn(workers.clone().probe(end, sample));
                }
            }
            if is_last {
                break;
            }
        }
        let first = FirstConnection { bytes: self.position() - begun, elapsed: started.elapsed() };
        // Where it stops at the end it brought everything itself, and nobody waits for a probe that is still open.
        if let Some(workers) = workers
            && !workers.queue.has_only_first()
        {
            // The first connection's work is done: it is closed, and another fetches parts in its place.
            drop(self);
            workers.queue.finish(FIRST);
            running.spawn(workers.work_for_first());
            all(running).await?;
        }
        send(pieces, Piece::End).await?;
        Ok(first)
    }
}

/// Waits until all have ended, or one has failed: then the others end as well.
async fn all(mut running: JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::unavailable(error.to_string()))??;
    }
    Ok(())
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Error> {
    pieces.send(piece).await.map_err(|_| Error::unavailable("nothing takes its bytes any more"))
}

impl<S: Source> Workers<S> {
    /// The first connection will fetch parts as well, when its own is complete.
    fn new(fetch: &Fetch<S>, queue: Queue, pieces: &mpsc::Sender<Piece>) -> Self {
        queue.join();
        Self { source: fetch.source().clone(), queue: Arc::new(queue), pieces: pieces.clone() }
    }

    /// Fetches the first part. When the origin gives it, the first connection stops before it, and others are called.
    /// `sample` are the bytes before `end`, which are here already.
    async fn probe(self, end: u64, sample: Bytes) -> Result<(), Error> {
        let Some(permits) = self.place().await else { return Ok(()) };
        if !self.gives(end, &sample).await {
            return Ok(());
        }
        let Some(part) = self.queue.take_now().await else { return Ok(()) };
        let fetch = match self.begin(&part.range).await {
            Ok(fetch) => fetch,
            // Whatever is wrong here, the first connection goes on to the end, or others take it.
            Err(error) => {
                if error.is_of_range() {
                    self.source.ranges().did_not_help(Instant::now());
                }
                self.queue.give_back(part.id);
                return Ok(());
            }
        };
        if !self.queue.stop_first_at(part.range.start) {
            // It was faster than the question.
            self.queue.finish(part.id);
            return Ok(());
        }
        self.queue.join();
        let mut running = JoinSet::new();
        self.call_others(2, &mut running);
        running.spawn(async move {
            let worked = self.work(Some((fetch, part))).await?;
            drop(permits);
            if worked == Worked::All { self.help().await } else { Ok(()) }
        });
        all(running).await
    }

    /// Whether the origin gives a range that is here already as it is. Whatever is wrong with it, the first connection goes on.
    async fn gives(&self, end: u64, sample: &Bytes) -> bool {
        let part = end - sample.len() as u64..end;
        let asking = async {
            let mut fetch = self.begin(&part).await?;
            let mut given = Vec::new();
            while let Some(chunk) = fetch.chunk().await? {
                given.extend_from_slice(&chunk);
            }
            if given == *sample { Ok(()) } else { Err(Error::no_range("a range of other bytes came")) }
        };
        let given: Result<(), Error> = asking.await;
        if given.as_ref().is_err_and(Error::is_of_range) {
            self.source.ranges().did_not_help(Instant::now());
        }
        given.is_ok()
    }

    /// Calls connections beside those that are `there`. Each begins when the limit has a place for it.
    fn call_others(&self, there: usize, running: &mut JoinSet<Result<(), Error>>) {
        for _ in there..WIDTH {
            running.spawn(self.clone().help());
        }
    }

    /// One more connection, for as long as there is something for it. It has a place while it fetches, and none while it
    /// waits: other contents may need that.
    async fn help(self) -> Result<(), Error> {
        while let Some(_permits) = self.place().await {
            self.queue.join();
            if self.work(None).await? == Worked::Failed {
                break;
            }
        }
        Ok(())
    }

    /// Waits for something to fetch that is worth one more connection, and for permits; `None` when there will be nothing.
    async fn place(&self) -> Option<Permits> {
        while self.queue.wants_more().await {
            let permits = tokio::select! {
                permits = self.source.limit().acquire() => permits?,
                () = self.queue.wants_no_more() => return None,
            };
            if !self.source.ranges().may_help(Instant::now()) {
                return None;
            }
            if self.queue.wants_now() {
                return Some(permits);
            }
        }
        None
    }

    /// One connection's work, with the part that it has begun already, until nothing is left for it now. A connection that
    /// fails leaves its part to the others; the last one has no other to leave it to, and does without parts where these are
    /// what is refused.
    async fn work(&self, begun: Option<(Fetch<S>, Part)>) -> Result<Worked, Error> {
        let worked = self.fetch_parts(begun, Idle::Leaves).await;
        self.leave(worked).await
    }

    /// The same for the connection in the first one's place, which needs no permits. It waits for slow parts, and for those
    /// that others give back.
    async fn work_for_first(self) -> Result<(), Error> {
        let worked = self.fetch_parts(None, Idle::Waits).await;
        self.leave(worked).await.map(drop)
    }

    async fn leave(&self, worked: Result<(), Error>) -> Result<Worked, Error> {
        let was_last = self.queue.leave();
        match worked {
            Ok(()) => Ok(Worked::All),
            Err(error) if was_last && error.is_of_range() => {
                self.fetch_plainly().await.map(|()| Worked::Failed)
            }
            Err(error) if was_last => Err(error),
            Err(_) => Ok(Worked::Failed),
        }
    }

    /// Fetches everything that is missing over one connection from the content's start on.
    async fn fetch_plainly(&self) -> Result<(), Error> {
        let missing = self.queue.take_all();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(()) };
        let begun = Fetch::begin_plainly(self.source.clone(), first.start, self.queue.size()).await;
        let mut fetch = begun?;
        self.source.ranges().did_not_help(Instant::now());
        while fetch.position() < last.end {
            let offset = fetch.position();
            let Some(chunk) = fetch.chunk().await? else { break };
            let end = fetch.position();
            for part in missing.iter().filter(|part| part.start < end && offset < part.end) {
                let (start, end) = (part.start.max(offset), part.end.min(end));
                // Within the chunk, so the casts cannot cut.
                let bytes = chunk.slice((start - offset) as usize..(end - offset) as usize);
                send(&self.pieces, Piece::Chunk { offset: start, bytes }).await?;
            }
        }
        Ok(())
    }

    async fn fetch_parts(&self, mut begun: Option<(Fetch<S>, Part)>, idle: Idle) -> Result<(), Error> {
        'parts: loop {
            let (mut fetch, part) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let taken = match idle {
                        Idle::Waits => self.queue.take().await,
                        Idle::Leaves => self.queue.take_now().await,
                    };
                    let Some(part) = taken else { return Ok(()) };
                    (self.open_with_retry(&part).await?, part)
                }
            };
            loop {
                let offset = fetch.position();
                match fetch.chunk().await {
                    Ok(Some(mut chunk)) => {
                        let (kept, is_last) = self.queue.advance(part.id, chunk.len());
                        chunk.truncate(kept);
                        send(&self.pieces, Piece::Chunk { offset, bytes: chunk }).await?;
                        if is_last {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.queue.give_back(part.id);
                        if self.goes_on_elsewhere(fetch.origin(), &error) {
                            continue 'parts;
                        }
                        return Err(error);
                    }
                }
            }
            self.queue.finish(part.id);
        }
    }

    /// Begins a part, several times when this is the last connection.
    async fn open_with_retry(&self, part: &Part) -> Result<Fetch<S>, Error> {
        let mut waits = RESUME_AFTER.iter();
        loop {
            let origin = self.source.origin();
            let error = match self.begin(&part.range).await {
                Ok(fetch) => return Ok(fetch),
                Err(error) => error,
            };
            if self.goes_on_elsewhere(origin, &error) {
                continue;
            }
            let is_worth_it = self.queue.has_one_left() && !error.is_refusal() && !error.is_of_range();
            match waits.next().filter(|_| is_worth_it) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => {
                    self.queue.give_back(part.id);
                    return Err(error);
                }
            }
        }
    }

    /// Whether the last connection, whose origin has failed, goes on at another one.
    fn goes_on_elsewhere(&self, origin: usize, error: &Error) -> bool {
        self.queue.has_one_left() && self.source.leave(origin, error) == Next::Fresh
    }

    async fn begin(&self, part: &Range<u64>) -> Result<Fetch<S>, Error> {
        Fetch::begin_part(self.source.clone(), part.clone(), Some(self.queue.size())).await
    }
}
