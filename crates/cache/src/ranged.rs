//! One blob over several connections, where an origin limits each of them.
//!
//! It begins as one plain GET. When that would take a while longer, one part of what is still to come is asked for with
//! a range, beside it; only when the origin gives exactly that are there more. The parts are taken from the front, so
//! that who follows the blob in order waits for none for long. An origin that does not want this (a 200, 429, 503) is
//! left with fewer connections, in the end with the first.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Registry, Target};
use hubcap_upstream::Upstream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::fetch::{Fetch, RESUME_AFTER};
use crate::fill::Piece;
use crate::lock::lock;
use crate::tally::Bringing;

/// How long the first connection is watched before anything is decided.
const WATCH: Duration = Duration::from_millis(250);
/// What has to be left, at the speed so far, for more connections to be worth it.
const WORTH: Duration = Duration::from_secs(1);
/// Connections for one blob.
const WIDTH: usize = 8;
/// Parts are so large, in bytes: small enough to come in order, large enough that asking for them costs little.
const PART: Range<u64> = (4 << 20)..(64 << 20);

/// Connections beyond each blob's first, of all blobs together, and of those that come from one registry: one that is
/// slow must not take them all.
const SPARE: usize = 24;
const SPARE_EACH: usize = 16;

/// Places for connections beyond each blob's first.
pub(crate) struct Spare {
    all: Arc<Semaphore>,
    /// One for each registry that a slow blob came from, and those are few.
    each: Mutex<HashMap<Registry, Arc<Semaphore>>>,
}

impl Default for Spare {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(SPARE)), each: Mutex::default() }
    }
}

/// Those that one registry's blobs may have; a clone is another handle of the same.
#[derive(Clone)]
struct Places {
    all: Arc<Semaphore>,
    each: Arc<Semaphore>,
}

impl Spare {
    fn of(&self, registry: &Registry) -> Places {
        let mut each = lock(&self.each);
        let each = each.entry(registry.clone()).or_insert_with(|| Arc::new(Semaphore::new(SPARE_EACH)));
        Places { all: Arc::clone(&self.all), each: Arc::clone(each) }
    }
}

impl Places {
    /// A place, if there is one: it is given back when this is dropped.
    fn take(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        Some([take(&self.each)?, take(&self.all)?])
    }
}

/// The bytes that one blob still needs.
struct Work {
    /// Where the first connection is, and where it may stop because a part begins there.
    first: u64,
    stop: u64,
    /// Parts that a connection gave back.
    back: VecDeque<Range<u64>>,
    /// Where the next part begins.
    next: u64,
    size: u64,
    part: u64,
    /// Connections that fetch parts.
    running: usize,
}

impl Work {
    fn take(&mut self) -> Option<Range<u64>> {
        if let Some(part) = self.back.pop_front() {
            return Some(part);
        }
        let part = self.next..(self.next + self.part).min(self.size);
        self.next = part.end;
        (!part.is_empty()).then_some(part)
    }
}

/// What fetches a blob's parts; a clone is another handle of the same.
#[derive(Clone)]
struct Parts {
    upstream: Upstream,
    target: Target,
    digest: Digest,
    work: Arc<Mutex<Work>>,
    pieces: mpsc::Sender<Piece>,
    places: Places,
}

/// Hands over the whole blob, in pieces with their places.
pub(crate) async fn hand_over(
    mut fetch: Fetch,
    (spare, bringing): (&Spare, &Bringing),
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), Error> {
    let (started, first) = (Instant::now(), fetch.position());
    let (mut parts, mut running): (Option<Parts>, JoinSet<Result<(), Error>>) = (None, JoinSet::new());
    let mut decided = false;
    loop {
        let offset = fetch.position();
        let Some(mut chunk) = fetch.chunk().await? else { break };
        if let Some(parts) = &parts {
            let mut work = lock(&parts.work);
            chunk.truncate(usize::try_from(work.stop - offset).unwrap_or(chunk.len()));
            work.first = offset + chunk.len() as u64;
        }
        let end = offset + chunk.len() as u64;
        send(pieces, Piece::Chunk { offset, bytes: chunk }).await?;
        if parts.as_ref().is_some_and(|parts| lock(&parts.work).stop == end) {
            break;
        }
        if !decided && started.elapsed() >= WATCH {
            decided = true;
            let size = fetch.size().unwrap_or(0);
            // Nanoseconds of a fetch are far from f64's limits.
            let rate = end as f64 / started.elapsed().as_secs_f64();
            if size.saturating_sub(end) as f64 > rate * WORTH.as_secs_f64() {
                let new = Parts::new(&fetch, (end, size), (spare, pieces));
                running.spawn(new.clone().probe());
                parts = Some(new);
            }
        }
    }
    bringing.alone(fetch.position() - first, started.elapsed());
    let Some(parts) = parts else { return Ok(()) };
    {
        let work = lock(&parts.work);
        if work.stop == work.size {
            // It brought everything itself, and nobody waits for a question that is still open.
            return Ok(());
        }
    }
    // The first connection's work is done: it is closed, and another fetches parts in its place.
    drop(fetch);
    running.spawn(parts.work(None));
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::Internal { why: error.to_string() })??;
    }
    Ok(())
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Error> {
    let gone = |_| Error::NoRoom { why: "the store stopped taking it".into() };
    pieces.send(piece).await.map_err(gone)
}

impl Parts {
    fn new(fetch: &Fetch, (end, size): (u64, u64), (spare, pieces): (&Spare, &mpsc::Sender<Piece>)) -> Self {
        let part = ((size - end) / (4 * WIDTH as u64)).clamp(PART.start, PART.end);
        // The first connection goes on to where the first part begins.
        let next = (end + part).min(size);
        let work = Work { first: end, stop: size, back: VecDeque::new(), next, size, part, running: 0 };
        let (upstream, target, digest) = fetch.source();
        let (work, pieces) = (Arc::new(Mutex::new(work)), pieces.clone());
        let places = spare.of(&target.registry);
        Self { upstream, target, digest, work, pieces, places }
    }

    /// Fetches the first part; when the origin gives it, lets the first connection stop before it, and calls others.
    async fn probe(self) -> Result<(), Error> {
        let Some(_place) = self.places.take() else { return Ok(()) };
        let Some(part) = lock(&self.work).take() else { return Ok(()) };
        // Whatever is wrong here, the first connection goes on to the end.
        let Ok(fetch) = self.begin(&part).await else { return Ok(()) };
        let mut others = JoinSet::new();
        {
            let mut work = lock(&self.work);
            if work.first > part.start {
                // It was faster than the question.
                return Ok(());
            }
            work.stop = part.start;
            // This one, and the first, which will fetch parts as well.
            work.running = 2;
            // With the first connection and this one.
            for _ in 2..WIDTH {
                let Some(place) = self.places.take() else { break };
                work.running += 1;
                let parts = self.clone();
                others.spawn(async move {
                    let _place = place;
                    parts.work(None).await
                });
            }
        }
        self.work(Some((fetch, part))).await?;
        while let Some(ended) = others.join_next().await {
            ended.map_err(|error| Error::Internal { why: error.to_string() })??;
        }
        Ok(())
    }

    /// One connection's work, with what it has begun already. One that fails leaves its part to the others; the last
    /// one has nobody to leave it to.
    async fn work(self, begun: Option<(Fetch, Range<u64>)>) -> Result<(), Error> {
        let worked = self.fetch_parts(begun).await;
        let mut work = lock(&self.work);
        work.running -= 1;
        match worked {
            Err(error) if work.running == 0 => Err(error),
            _ => Ok(()),
        }
    }

    async fn fetch_parts(&self, mut begun: Option<(Fetch, Range<u64>)>) -> Result<(), Error> {
        loop {
            let (mut fetch, part) = match begun.take() {
                Some(begun) => begun,
                None => {
                    let Some(part) = lock(&self.work).take() else { return Ok(()) };
                    (self.begin_patiently(&part).await?, part)
                }
            };
            loop {
                let offset = fetch.position();
                match fetch.chunk().await {
                    Ok(Some(chunk)) => send(&self.pieces, Piece::Chunk { offset, bytes: chunk }).await?,
                    Ok(None) => break,
                    Err(error) => {
                        lock(&self.work).back.push_front(offset..part.end);
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Begins a part, several times when this is the last connection.
    async fn begin_patiently(&self, part: &Range<u64>) -> Result<Fetch, Error> {
        let mut waits = RESUME_AFTER.iter();
        loop {
            match self.begin(part).await {
                Ok(fetch) => return Ok(fetch),
                Err(error) => {
                    let alone = lock(&self.work).running <= 1;
                    match waits.next().filter(|_| alone && error.is_trouble()) {
                        Some(wait) => tokio::time::sleep(*wait).await,
                        None => {
                            lock(&self.work).back.push_front(part.clone());
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    async fn begin(&self, part: &Range<u64>) -> Result<Fetch, Error> {
        let size = lock(&self.work).size;
        Fetch::part(self.upstream.clone(), (&self.target, &self.digest), (part.clone(), size)).await
    }
}
