//! The engine against a source in memory, which answers each request as a script says.

mod origins;
mod places;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header;
use reqwest::Response;
use tokio::sync::{mpsc, watch};

use super::in_order::InOrder;
use super::limit::ConnectionLimit;
use super::resume::{Fetch, TAIL};
use super::source::{Piece, Source};
use crate::body::{BlobBody, part_of};
use crate::error::Error;
use crate::shortcut::Shortcut;

const MIB: u64 = 1 << 20;
/// What a body gives at once, in bytes.
const STEP: u64 = 64 << 10;

/// How one request is answered.
enum Answer {
    Right,
    /// At 6.4 MB/s.
    Slow,
    /// The connection breaks before this byte of the content.
    Breaks(u64),
    /// A 200 with the whole content.
    Whole,
    /// As if the content had another length.
    Longer,
    /// The body begins when the gate is open.
    Gated,
    Refused,
    /// As if nothing listened.
    Down,
    /// Not the range; the whole can be had.
    NoRange,
    Denied,
    /// The bytes of another place than the headers say.
    Other,
}

#[derive(Clone)]
struct Script(Arc<Inner>);

struct Inner {
    content: Bytes,
    /// By the bytes that are asked for, and the number of the request.
    answer: fn(&Range<u64>, usize) -> Answer,
    limit: ConnectionLimit,
    ranges: Shortcut,
    gate: watch::Sender<bool>,
    /// What was asked for, and whether the gate was open then.
    asked: Mutex<Vec<(Range<u64>, bool)>>,
    open: Open,
}

/// How many bodies are open, and how many were at most; a clone counts the same.
#[derive(Clone, Default)]
struct Open(Arc<(AtomicUsize, AtomicUsize)>);

impl Open {
    fn begin(&self) -> IsOpen {
        let open = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(open, Ordering::SeqCst);
        IsOpen(self.clone())
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A body that is open.
struct IsOpen(Open);

impl Drop for IsOpen {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    fn new(size: u64, answer: fn(&Range<u64>, usize) -> Answer) -> Self {
        Self::within(&ConnectionLimit::new(), size, answer)
    }

    /// One whose connections count against this limit.
    fn within(limit: &ConnectionLimit, size: u64, answer: fn(&Range<u64>, usize) -> Answer) -> Self {
        let mut content = BytesMut::zeroed(size as usize);
        for (number, word) in content.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&(number as u64).to_le_bytes());
        }
        Self(Arc::new(Inner {
            content: content.freeze(),
            answer,
            limit: limit.clone(),
            ranges: Shortcut::default(),
            gate: watch::Sender::new(false),
            asked: Mutex::default(),
            open: Open::default(),
        }))
    }

    fn len(&self) -> u64 {
        self.0.content.len() as u64
    }

    fn asked(&self) -> Vec<Range<u64>> {
        self.0.asked.lock().expect("the log").iter().map(|(range, _)| range.clone()).collect()
    }

    fn starts(&self) -> Vec<u64> {
        self.asked().into_iter().map(|range| range.start).collect()
    }

    fn ask(&self, range: Range<u64>) -> Result<Response, Error> {
        let range = range.start..range.end.min(self.len());
        let number = {
            let mut asked = self.0.asked.lock().expect("the log");
            asked.push((range.clone(), *self.0.gate.borrow()));
            asked.len() - 1
        };
        let (mut served, mut size, mut pause, mut breaks_at, mut gate) =
            (range.clone(), self.len(), Duration::ZERO, None, None);
        let mut shift = 0;
        match (self.0.answer)(&range, number) {
            Answer::Right => {}
            Answer::Slow => pause = Duration::from_millis(10),
            Answer::Breaks(at) => breaks_at = Some(at),
            Answer::Whole => served = 0..size,
            Answer::Longer => size += 1,
            Answer::Gated => gate = Some(self.0.gate.subscribe()),
            Answer::Refused => return Err(Error::RateLimited { retry_after: None }),
            Answer::Down => return Err(Error::unavailable("down")),
            Answer::NoRange => return Err(Error::no_range("no ranges here")),
            Answer::Other => shift = 8,
            Answer::Denied => return Err(Error::Denied { status: 403 }),
        }
        let (content, end) = (self.0.content.clone(), served.end);
        let open = self.0.open.begin();
        let body = stream::try_unfold((served.start, gate, open), move |(at, mut gate, open)| {
            let content = content.clone();
            async move {
                if let Some(gate) = &mut gate {
                    gate.wait_for(|open| *open).await.expect("the gate");
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                if breaks_at == Some(at) {
                    return Err(io::Error::other("broken"));
                }
                let next = (at + STEP).min(end).min(breaks_at.unwrap_or(end));
                let chunk = content.slice((at - shift) as usize..(next - shift) as usize);
                Ok((at < end).then_some((chunk, (next, gate, open))))
            }
        });
        let mut response = http::Response::new(reqwest::Body::wrap_stream(body));
        let length = size.min(served.end) - served.start;
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        if served == range && range != (0..self.len()) {
            *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, value.parse().expect("a value"));
        } else {
            response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        }
        Ok(response.into())
    }

    async fn stream(&self) -> Result<Bytes, Error> {
        streamed(self.clone(), self.0.content.len()).await
    }
}

/// A content of `size` bytes, put together of its pieces.
async fn streamed<S: Source>(source: S, size: usize) -> Result<Bytes, Error> {
    let (sender, mut pieces) = mpsc::channel(4);
    let fetch = Fetch::begin(source, 0).await?;
    let fetching = tokio::spawn(async move { fetch.stream(&sender).await });
    let mut got = vec![0; size];
    let mut has_ended = false;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Chunk { offset, bytes } => {
                got[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            Piece::End => has_ended = true,
        }
    }
    let fetched = fetching.await.expect("no panic");
    assert_eq!(has_ended, fetched.is_ok());
    fetched.map(|_| got.into())
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script")
    }
}

impl Source for Script {
    fn limit(&self) -> &ConnectionLimit {
        &self.0.limit
    }

    fn ranges(&self) -> &Shortcut {
        &self.0.ranges
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let response = self.ask(offset..u64::MAX)?;
        if offset > 0 {
            BlobBody::ranged(response, &(offset..u64::MAX))
        } else {
            Ok(BlobBody::whole(response))
        }
    }

    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        part_of(self.ask(part.clone())?, &part)
    }
}

/// Whether it is the first connection, which is asked for everything.
fn is_first(number: usize) -> bool {
    number == 0
}

#[tokio::test]
async fn a_connection_that_breaks_is_resumed_at_its_byte() {
    let script = Script::new(MIB, |range, _| match range.start {
        0 => Answer::Breaks(3 * STEP),
        _ => Answer::Right,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.starts(), [0, 3 * STEP - TAIL]);
}

#[tokio::test]
async fn a_connection_that_resumes_at_an_origin_without_ranges_skips_what_was_given_out() {
    let script = Script::new(MIB, |_, number| match number {
        0 => Answer::Breaks(3 * STEP),
        _ => Answer::Whole,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
}

#[tokio::test]
async fn a_slow_content_is_fetched_in_parts_that_do_not_overlap() {
    let script = Script::new(60 * MIB, |_, number| match number {
        0 => Answer::Slow,
        _ => Answer::Right,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    // Without the first connection, and without the question whether the origin gives ranges.
    let mut parts = script.asked().split_off(2);
    parts.sort_by_key(|part| part.start);
    assert!(parts.len() >= 4 && parts.windows(2).all(|two| two[0].end == two[1].start), "{parts:?}");
}

#[tokio::test]
async fn an_origin_that_ignores_ranges_keeps_one_connection() {
    let script = Script::new(30 * MIB, |_, number| match number {
        0 => Answer::Slow,
        _ => Answer::Whole,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.asked().len(), 2, "the first connection, and one that was tried");
}

#[tokio::test]
async fn a_part_that_is_refused_goes_to_the_other_connections() {
    let script = Script::new(60 * MIB, |_, number| match number {
        0 => Answer::Slow,
        3 => Answer::Refused,
        _ => Answer::Right,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    let asked = script.asked();
    assert_eq!(asked.iter().filter(|part| **part == asked[3]).count(), 2, "{asked:?}");
}

#[tokio::test]
async fn a_limit_that_is_reached_leaves_one_connection() {
    let script = Script::new(30 * MIB, |_, number| {
        assert!(is_first(number), "there are no permits");
        Answer::Slow
    });
    let _permits: Vec<_> = std::iter::from_fn(|| script.0.limit.try_acquire()).collect();
    assert!(script.stream().await.expect("all of it") == script.0.content);
}

#[tokio::test]
async fn a_connection_that_resumes_where_ranges_are_refused_begins_again_and_the_next_does_not_ask_for_one() {
    let script = Script::new(MIB, |range, number| match (range.start, number) {
        (0, 0) => Answer::Breaks(3 * STEP),
        (0, 2) => Answer::Breaks(5 * STEP),
        (0, _) => Answer::Right,
        _ => Answer::NoRange,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.starts(), [0, 3 * STEP - TAIL, 0, 0]);
}

#[tokio::test]
async fn a_range_of_something_of_another_length_is_none_of_the_content() {
    let script = Script::new(MIB, |range, number| match (range.start, number) {
        (0, 0) => Answer::Breaks(3 * STEP),
        (0, _) => Answer::Right,
        _ => Answer::Longer,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.starts(), [0, 3 * STEP - TAIL, 0]);
}

#[tokio::test]
async fn a_range_of_other_bytes_than_it_says_is_found_out_when_a_fetch_resumes_and_before_there_are_parts() {
    let resumed = |range: &Range<u64>, number: usize| match (range.start, number) {
        (0, 0) => Answer::Breaks(3 * STEP),
        (0, _) => Answer::Right,
        _ => Answer::Other,
    };
    let in_parts = |range: &Range<u64>, _: usize| match range.start {
        0 => Answer::Slow,
        _ => Answer::Other,
    };
    for (size, answer) in [(MIB, resumed as fn(&Range<u64>, usize) -> Answer), (30 * MIB, in_parts)] {
        let script = Script::new(size, answer);
        assert!(script.stream().await.expect("all of it") == script.0.content);
        assert!(script.starts().iter().filter(|start| **start > 0).count() == 1, "{:?}", script.asked());
        assert!(!script.0.ranges.may_help(Instant::now()));
    }
}

#[tokio::test]
async fn parts_that_are_refused_in_the_middle_come_from_one_plain_connection() {
    let script = Script::new(40 * MIB, |range, number| match (range.start, number) {
        (_, 0) => Answer::Slow,
        (0, _) => Answer::Right,
        (_, 1 | 2) => Answer::Right,
        _ => Answer::NoRange,
    });
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.asked().iter().filter(|range| range.start == 0).count(), 2);
    assert!(!script.0.ranges.may_help(Instant::now()));
}

#[tokio::test]
async fn an_origin_that_refused_a_range_is_not_asked_for_parts() {
    let script = Script::new(30 * MIB, |_, _| Answer::Slow);
    script.0.ranges.did_not_help(Instant::now());
    assert!(script.stream().await.expect("all of it") == script.0.content);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_reader_in_order_holds_no_more_than_the_window() {
    const WINDOW: u64 = 32 * MIB;
    let script =
        Script::new(48 * MIB, |_, number| if is_first(number) { Answer::Gated } else { Answer::Right });
    let mut reader = InOrder::begin(script.clone()).await.expect("begun");
    let gate = {
        let script = script.clone();
        tokio::spawn(async move {
            // Everything that the window allows.
            while script.asked().len() < 8 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            script.0.gate.send_replace(true);
        })
    };
    let (mut got, mut most) = (Vec::new(), 0);
    while let Some(bytes) = reader.chunk().await.expect("all of it") {
        most = most.max(reader.waiting());
        got.extend_from_slice(&bytes);
    }
    assert!(got == script.0.content && most <= WINDOW, "{most}");
    let early: Vec<_> =
        script.0.asked.lock().expect("the log").iter().filter(|(_, open)| !open).cloned().collect();
    assert!(early.len() == 8 && early.iter().all(|(part, _)| part.start < WINDOW), "{early:?}");
    gate.await.expect("no panic");
}

#[tokio::test]
async fn a_reader_in_order_takes_the_whole_from_an_origin_that_ignores_ranges() {
    let script = Script::new(9 * MIB, |_, _| Answer::Whole);
    let mut reader = InOrder::begin(script.clone()).await.expect("begun");
    let mut got = Vec::new();
    while let Some(bytes) = reader.chunk().await.expect("all of it") {
        got.extend_from_slice(&bytes);
    }
    assert!(got == script.0.content);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_reader_in_order_does_without_ranges_where_they_are_refused_at_once_or_later() {
    let later = |range: &Range<u64>, _: usize| match range.start {
        0 => Answer::Right,
        _ => Answer::NoRange,
    };
    let at_once = |range: &Range<u64>, number: usize| match number {
        0 => Answer::NoRange,
        _ if range.start == 0 => Answer::Right,
        _ => Answer::Refused,
    };
    for answer in [later as fn(&Range<u64>, usize) -> Answer, at_once] {
        let script = Script::new(20 * MIB, answer);
        let mut reader = InOrder::begin(script.clone()).await.expect("begun");
        let mut got = Vec::new();
        while let Some(bytes) = reader.chunk().await.expect("all of it") {
            got.extend_from_slice(&bytes);
        }
        assert!(got == script.0.content);
    }
}

#[tokio::test]
async fn a_reader_in_order_is_told_what_broke() {
    let script = Script::new(9 * MIB, |range, number| match (range.start, number) {
        (0, 0) => Answer::Breaks(STEP),
        _ => Answer::Denied,
    });
    let mut reader = InOrder::begin(script).await.expect("begun");
    assert_eq!(reader.chunk().await.expect("the first").expect("some").len() as u64, STEP);
    assert!(matches!(reader.chunk().await, Err(Error::Denied { .. })));
}
