//! A content's bytes in order: a connection that breaks is resumed at the byte where it broke, and the caller does not
//! notice.

use std::ops::Range;
use std::slice;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ending::Ending;
use super::source::{Next, Source};
use super::watch::Watch;
use crate::body::BlobBody;
use crate::error::Error;

/// Waits before a broken connection is resumed; when all are used up the fetch has failed.
pub(super) const RESUME_AFTER: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(5)];

/// A connection that brought so many bytes was worth resuming: the waits begin anew.
const PROGRESS: u64 = 256 << 10;

/// How many times a connection that crawls is replaced by another one to the same origin at once. The last of these times it
/// is asked plainly, where not much is fetched again for that.
const REPLACED_AT_ONCE: u32 = 2;
/// Later it is replaced only after so many windows of 5 s, and where what is here needs not come again.
const LATER: u32 = 6;
/// What may be fetched again of a content whose length is not known, in bytes.
const WORTH_AGAIN: u64 = 64 << 20;

/// How many of the last bytes that were given out are asked for again when a connection is resumed: some servers say one
/// range and send another.
pub(super) const TAIL: u64 = 256;

/// A fetch that runs.
#[derive(Debug)]
pub struct Fetch<S> {
    source: S,
    body: BlobBody,
    watch: Watch,
    size: Option<u64>,
    /// What finds the content's end while its length is unknown.
    ending: Option<Ending>,
    /// Where a part ends that is not the content's last.
    part_end: Option<u64>,
    /// The next byte to give out.
    position: u64,
    /// The last bytes that were given out.
    tail: Vec<u8>,
    waits: slice::Iter<'static, Duration>,
    /// Where the present connection began.
    resumed_at: u64,
    /// How many connections were replaced because they crawled.
    replaced: u32,
}

impl<S: Source> Fetch<S> {
    /// Begins at byte `position`; from the content's start again where the origin gives no range, without giving out what is
    /// before `position`.
    ///
    /// # Errors
    /// [`Error`], as the origin's answer means.
    pub async fn begin(source: S, position: u64) -> Result<Self, Error> {
        // What the first origin says is the error, when no other one gives it either.
        let mut told: Option<Error> = None;
        loop {
            let origin = source.origin();
            let error = match open(&source, position, None).await {
                Ok(body) => {
                    let size = body.size;
                    let is_unknown = size.is_none() && position == 0;
                    let ending = source.digest().filter(|_| is_unknown).map(Ending::new);
                    return Ok(Self { ending, ..Self::new(source, body, size, position) });
                }
                Err(error) => error,
            };
            let next = source.leave(origin, &error);
            if origin == 0 || told.is_none() {
                told = Some(error.clone());
            }
            if next != Next::Fresh {
                return Err(told.unwrap_or(error));
            }
        }
    }

    /// The same for a content of `size` bytes, without asking for a range.
    pub(super) async fn begin_plainly(source: S, position: u64, size: u64) -> Result<Self, Error> {
        let body = source.open(0).await?;
        check_size(Some(size), &body)?;
        Ok(Self::new(source, body, Some(size), position))
    }

    /// Begins a part of a content of `size` bytes, where that is known. An origin that ignores ranges is asked for a part
    /// at the content's start only, and then gives the whole.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NoRange`] when the origin does not give exactly this part.
    pub(super) async fn begin_part(source: S, part: Range<u64>, size: Option<u64>) -> Result<Self, Error> {
        let body = source.open_part(part.clone()).await?;
        if check_size(size, &body).is_err() {
            return Err(Error::no_range("a part of something of another length came"));
        }
        let size = size.or(body.size);
        let part_end = body.is_partial().then(|| size.map_or(part.end, |size| part.end.min(size)));
        Ok(Self { part_end, ..Self::new(source, body, size, part.start) })
    }

    fn new(source: S, body: BlobBody, size: Option<u64>, position: u64) -> Self {
        let (watch, waits, tail) = (Watch::new(body.origin, 1), RESUME_AFTER.iter(), Vec::new());
        let (ending, part_end, resumed_at) = (None, None, position);
        Self { source, body, watch, size, ending, part_end, position, tail, waits, resumed_at, replaced: 0 }
    }

    /// Says where a content of unknown length may end. Before the first chunk.
    pub fn hint(&mut self, size: u64) {
        if let Some(ending) = &mut self.ending {
            ending.hint(size);
        }
    }

    /// What is fetched.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The origin that the present connection is to.
    pub(super) const fn origin(&self) -> usize {
        self.watch.origin()
    }

    /// Whether more connections could fetch parts of it beside this one.
    pub(super) fn has_parts(&self) -> bool {
        !self.is_packed() && self.source.ranges().may_help(Instant::now())
    }

    /// Whether what comes has to be unpacked.
    pub(super) fn is_packed(&self) -> bool {
        self.body.is_packed()
    }

    /// Where the next byte belongs.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The content's whole length in bytes, where its origin tells it.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Where the fetch ends before the content's end.
    pub(super) const fn part_end(&self) -> Option<u64> {
        self.part_end
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks and cannot be resumed, [`Error::Invalid`] for a body that is too
    /// long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.next().await {
                // It ends where its digest says, and not where its connection does.
                Err(error) if error.is_transient() && self.is_complete() => return Ok(None),
                Err(Error::Crawls) if !self.source.has_others() => self.replace().await,
                // A part goes to others, or to nobody.
                Err(error @ Error::NoRange { .. }) if self.part_end.is_none() => {
                    self.source.ranges().did_not_help(Instant::now());
                    self.resume(error).await?;
                }
                Err(error) if error.is_transient() || self.source.has_others() => self.resume(error).await?,
                answered => return answered,
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let end = self.part_end.or(self.size);
        // Once everything that is wanted is here, what the connection does is its own affair.
        while end.is_none_or(|end| self.position < end) {
            let left = end.map(|end| end - self.position);
            let coming = self.watch.chunk(&self.source, &mut self.body, left);
            let came = match &self.ending {
                Some(ending) => ending.unless_complete(coming).await?,
                None => coming.await?,
            };
            let Some(mut chunk) = came else {
                return match end {
                    Some(end) => {
                        Err(Error::unavailable(format!("the body ended at byte {} of {end}", self.position)))
                    }
                    None => Ok(None),
                };
            };
            // A resumed connection begins a little earlier, or at zero: bytes that were given out already are skipped.
            let begin = self.body.position - chunk.len() as u64;
            let known = self.position.saturating_sub(begin).min(chunk.len() as u64);
            // At most the chunk's own length, so the cast cannot cut.
            let mut chunk = {
                let new = chunk.split_off(known as usize);
                self.compare(begin, &chunk)?;
                new
            };
            let left = end.map_or(u64::MAX, |end| end - self.position);
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if chunk.is_empty() {
                continue;
            }
            if let Some(ending) = &mut self.ending
                && ending.take(&mut chunk)?
            {
                self.size = Some(self.position + chunk.len() as u64);
            }
            self.position += chunk.len() as u64;
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL as usize)..]);
            return Ok(Some(chunk));
        }
        Ok(None)
    }

    /// Compares bytes that come again, from byte `begin` on, with those that were given out.
    fn compare(&self, begin: u64, again: &[u8]) -> Result<(), Error> {
        let start = self.position - self.tail.len() as u64;
        let (from, to) = (begin.max(start), begin + again.len() as u64);
        // Both lie within slices, so the casts cannot cut.
        if from >= to
            || self.tail[(from - start) as usize..(to - start) as usize] == again[(from - begin) as usize..]
        {
            return Ok(());
        }
        let why = "other bytes came than before";
        Err(if self.body.is_partial() { Error::no_range(why) } else { Error::invalid(why) })
    }

    fn is_complete(&self) -> bool {
        self.ending.as_ref().is_some_and(Ending::is_complete)
    }

    /// Goes on at another origin at once, or at this one after a while.
    async fn resume(&mut self, mut error: Error) -> Result<(), Error> {
        if self.position >= self.resumed_at + PROGRESS {
            self.waits = RESUME_AFTER.iter();
        }
        let (mut origin, mut is_broken) = (self.origin(), true);
        loop {
            let next = if self.may_leave(&error, is_broken) {
                self.source.leave(origin, &error)
            } else {
                Next::Same
            };
            // Without the range it may be had at once.
            let is_range = matches!(error, Error::NoRange { .. }) && self.part_end.is_none();
            if next == Next::Same && !error.is_transient() && !is_range {
                return Err(error);
            }
            if next != Next::Fresh && !is_range {
                let Some(wait) = self.waits.next() else { return Err(error) };
                tokio::time::sleep(*wait).await;
            }
            tracing::debug!(target: "hubcap::fetch", source = %self.source,
                "resuming the fetch at byte {}: {error}", self.position);
            origin = self.source.origin();
            let from = self.again_from();
            let opened = match self.part_end {
                Some(end) => self.source.open_part(from..end).await,
                // What a packed content's ranges are of is not the content. And the last try is one without: some
                // servers only close their connections.
                None if self.body.is_packed() || self.waits.len() == 0 => self.source.open(0).await,
                None => open(&self.source, from, self.size).await,
            };
            match opened.and_then(|body| check_size(self.size, &body).map(|()| body)) {
                Ok(body) => {
                    self.go_on_with(body);
                    return Ok(());
                }
                Err(again) => (error, is_broken) = (again, false),
            }
        }
    }

    /// Asks the only origin over another connection, since the present one crawls. It is kept where that gives nothing better.
    async fn replace(&mut self) {
        tracing::debug!(target: "hubcap::fetch", source = %self.source,
            "asking for the rest from byte {} over another connection: this one crawls", self.position);
        self.replaced += 1;
        let (from, is_last) = (self.again_from(), self.replaced == REPLACED_AT_ONCE);
        let left = self.size.map_or(WORTH_AGAIN, |size| size.saturating_sub(self.position));
        let is_worth_again = self.position <= left && self.replaced <= REPLACED_AT_ONCE;
        let opened = match self.part_end {
            Some(end) => self.source.open_part(from..end).await,
            None if is_worth_again && (is_last || self.body.is_packed()) => self.source.open(0).await,
            None if self.source.ranges().may_help(Instant::now()) && from > 0 => self.source.open(from).await,
            None if is_worth_again => self.source.open(0).await,
            None => return self.watch.keep(LATER),
        };
        match opened.and_then(|body| check_size(self.size, &body).map(|()| body)) {
            Ok(body) if body.is_partial() || is_worth_again => self.go_on_with(body),
            Ok(_) => {
                self.source.ranges().did_not_help(Instant::now());
                self.watch.keep(LATER);
            }
            Err(_) => self.watch.keep(LATER),
        }
    }

    fn go_on_with(&mut self, body: BlobBody) {
        let patience = if self.replaced < REPLACED_AT_ONCE { 1 } else { LATER };
        self.watch = Watch::new(body.origin, patience);
        self.body = body;
        self.resumed_at = self.position;
    }

    /// From where on a content is asked for again. Without a whole tail there is too little to compare.
    fn again_from(&self) -> u64 {
        self.position - if self.tail.len() as u64 == TAIL { TAIL } else { 0 }
    }

    /// Whether an error is the origin's own. One connection more than needed that breaks or is refused says little of it; one
    /// that cannot be opened at all, or that crawls, does.
    fn may_leave(&self, error: &Error, is_broken: bool) -> bool {
        match error {
            Error::Crawls => true,
            Error::NoRange { .. } => false,
            Error::Unavailable { .. } | Error::Failed { .. } => self.part_end.is_none() || !is_broken,
            _ => self.part_end.is_none(),
        }
    }
}

/// Opens a content of `size` bytes, where that is known, at byte `offset`: by a range, else from its start.
async fn open<S: Source>(source: &S, offset: u64, size: Option<u64>) -> Result<BlobBody, Error> {
    if offset == 0 || !source.ranges().may_help(Instant::now()) {
        return source.open(0).await;
    }
    let opened = source.open(offset).await.and_then(|body| match check_size(size, &body) {
        Err(_) if body.is_partial() => Err(Error::no_range("a range of something of another length came")),
        _ => Ok(body),
    });
    let error = match opened {
        Ok(body) => {
            if !body.is_partial() {
                source.ranges().did_not_help(Instant::now());
            }
            return Ok(body);
        }
        Err(error) if error.is_of_range() => error,
        Err(error) => return Err(error),
    };
    tracing::debug!(target: "hubcap::fetch", source = %source,
        "fetching it from the start again instead of at byte {offset}: {error}");
    let body = source.open(0).await?;
    source.ranges().did_not_help(Instant::now());
    Ok(body)
}

/// Refuses what is not of the content that is being fetched.
fn check_size(known: Option<u64>, body: &BlobBody) -> Result<(), Error> {
    match (known, body.size) {
        (Some(known), Some(told)) if known != told => {
            Err(Error::invalid(format!("it should have {known} bytes, and the upstream says {told}")))
        }
        _ => Ok(()),
    }
}
