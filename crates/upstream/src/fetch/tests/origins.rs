//! The engine against a source with two origins.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{Answer, MIB, STEP, Script};
use crate::body::BlobBody;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::resume::{Fetch, TAIL};
use crate::fetch::source::{Next, Piece, Source};
use crate::shortcut::Shortcut;

/// Two scripts that have the same content: the second is asked when the first was left.
#[derive(Clone)]
struct Two {
    origins: [Script; 2],
    at: Arc<Mutex<usize>>,
}

impl Two {
    fn new(
        size: u64,
        first: fn(&Range<u64>, usize) -> Answer,
        second: fn(&Range<u64>, usize) -> Answer,
    ) -> Self {
        Self { origins: [Script::new(size, first), Script::new(size, second)], at: Arc::default() }
    }

    async fn stream(&self) -> Result<Bytes, Error> {
        let mut fetch = Fetch::begin(self.clone(), 0).await?;
        let mut got = BytesMut::new();
        while let Some(chunk) = fetch.chunk().await? {
            got.extend_from_slice(&chunk);
        }
        Ok(got.freeze())
    }

    fn is_right(&self, got: &Bytes) -> bool {
        *got == self.origins[0].0.content
    }
}

impl fmt::Display for Two {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two scripts")
    }
}

impl Source for Two {
    fn origin(&self) -> usize {
        *self.at.lock().expect("where it is")
    }

    fn leave(&self, origin: usize, _: &Error) -> Next {
        let mut at = self.at.lock().expect("where it is");
        match (origin, *at) {
            (0, 0) => *at = 1,
            (1, 1) => return Next::Same,
            _ => {}
        }
        Next::Fresh
    }

    fn has_others(&self) -> bool {
        true
    }

    fn is_too_slow(&self, origin: usize, rate: Option<f64>, _: Option<u64>) -> bool {
        origin == 0 && rate.is_some_and(|rate| rate < 10e6)
    }

    fn limit(&self) -> &ConnectionLimit {
        self.origins[self.origin()].limit()
    }

    fn ranges(&self) -> &Shortcut {
        self.origins[self.origin()].ranges()
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let origin = self.origin();
        Ok(self.origins[origin].open(offset).await?.of(origin))
    }

    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        let origin = self.origin();
        Ok(self.origins[origin].open_part(part).await?.of(origin))
    }
}

fn right(_: &Range<u64>, _: usize) -> Answer {
    Answer::Right
}

#[tokio::test]
async fn an_origin_that_refuses_is_left_for_the_next_at_once() {
    let two = Two::new(MIB, |_, _| Answer::Refused, right);
    assert!(two.is_right(&two.stream().await.expect("all of it")));
    assert_eq!(two.origins[0].asked().len(), 1);
}

#[tokio::test]
async fn what_the_first_origin_said_is_the_error_when_none_gives_it() {
    let two = Two::new(MIB, |_, _| Answer::Refused, |_, _| Answer::Denied);
    assert!(matches!(two.stream().await, Err(Error::RateLimited { .. })));
}

#[tokio::test]
async fn a_connection_that_breaks_goes_on_at_the_next_origin_at_its_byte() {
    let two = Two::new(MIB, |_, _| Answer::Breaks(3 * STEP), right);
    assert!(two.is_right(&two.stream().await.expect("all of it")));
    assert_eq!(two.origins[0].asked().len(), 1);
    assert_eq!(two.origins[1].starts(), [3 * STEP - TAIL]);
}

#[tokio::test]
async fn the_next_origin_may_ignore_ranges() {
    let two = Two::new(MIB, |_, _| Answer::Breaks(3 * STEP), |_, _| Answer::Whole);
    assert!(two.is_right(&two.stream().await.expect("all of it")));
}

#[tokio::test]
async fn the_last_origin_is_resumed_after_a_while_as_a_single_one_is() {
    let second = |range: &Range<u64>, _| match range.start {
        start if start < 8 * STEP => Answer::Breaks(9 * STEP),
        _ => Answer::Right,
    };
    let two = Two::new(MIB, |_, _| Answer::Breaks(3 * STEP), second);
    assert!(two.is_right(&two.stream().await.expect("all of it")));
    assert_eq!(two.origins[1].starts(), [3 * STEP - TAIL, 9 * STEP - TAIL]);
}

#[tokio::test]
async fn an_origin_that_crawls_is_left_after_five_seconds_of_waiting() {
    let two = Two::new(64 * MIB, |_, _| Answer::Slow, right);
    assert!(two.is_right(&two.stream().await.expect("all of it")));
    let left_at = two.origins[1].asked()[0].start;
    // At 6.4 MB a second it is about the middle; a busy machine is slower.
    assert!(0 < left_at && left_at < 48 * MIB, "{left_at}");
}

#[tokio::test]
async fn an_origin_that_falls_silent_is_left_after_five_seconds() {
    let two = Two::new(MIB, |_, _| Answer::Gated, right);
    let begun = tokio::time::Instant::now();
    assert!(two.is_right(&two.stream().await.expect("all of it")));
    // After 30 s it would be given up in any case.
    assert!(begun.elapsed() < Duration::from_secs(28), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn parts_go_on_at_the_next_origin_when_theirs_dies() {
    let first = |_: &Range<u64>, number| match number {
        0 => Answer::Slow,
        1 | 2 => Answer::Right,
        _ => Answer::Down,
    };
    let two = Two::new(60 * MIB, first, right);
    let (sender, mut pieces) = mpsc::channel(4);
    let fetch = Fetch::begin(two.clone(), 0).await.expect("begun");
    let fetching = tokio::spawn(async move { fetch.stream(&sender).await });
    let mut got = vec![0; two.origins[0].0.content.len()];
    while let Some(piece) = pieces.recv().await {
        if let Piece::Chunk { offset, bytes } = piece {
            got[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
    }
    fetching.await.expect("no panic").expect("all of it");
    assert!(two.is_right(&got.into()));
    assert!(!two.origins[1].asked().is_empty());
}
