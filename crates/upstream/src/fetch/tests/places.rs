//! The engine where other contents hold the places for connections.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Answer, MIB, Script, is_first};
use crate::body::BlobBody;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::source::Source;
use crate::shortcut::Shortcut;

/// Connections of one content beside its first.
const OTHERS: usize = 7;

fn slow_at_first(_: &Range<u64>, number: usize) -> Answer {
    if is_first(number) { Answer::Slow } else { Answer::Right }
}

/// As a content whose parts end when the test wants.
fn gated_in_parts(_: &Range<u64>, number: usize) -> Answer {
    match number {
        0 => Answer::Slow,
        // The question whether the origin gives ranges.
        1 => Answer::Right,
        _ => Answer::Gated,
    }
}

/// A registry's content that another place has as well, which has a limit of its own.
#[derive(Clone)]
struct Beside {
    registry: Script,
    cache: Script,
    is_cache: bool,
}

impl Beside {
    fn here(&self) -> &Script {
        if self.is_cache { &self.cache } else { &self.registry }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a script beside another")
    }
}

impl Source for Beside {
    fn beside(&self) -> Option<Self> {
        Some(Self { is_cache: true, ..self.clone() })
    }

    fn limit(&self) -> &ConnectionLimit {
        self.here().limit()
    }

    fn ranges(&self) -> &Shortcut {
        self.here().ranges()
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        self.here().open(offset).await
    }

    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        self.here().open_part(part).await
    }
}

fn streaming<S: Source>(source: S, size: u64) -> JoinHandle<Result<Bytes, Error>> {
    tokio::spawn(async move { super::streamed(source, size as usize).await })
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut looks = 0;
    while !holds() {
        looks += 1;
        assert!(looks < 6000, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes all that is free of a limit and gives it back: how much that was.
fn free(limit: &ConnectionLimit) -> usize {
    std::iter::from_fn(|| limit.try_acquire()).collect::<Vec<_>>().len()
}

#[tokio::test]
async fn a_content_gets_connections_to_its_registry_as_soon_as_the_one_before_has_ended() {
    let limit = ConnectionLimit::of(OTHERS);
    let first = Script::within(&limit, 60 * MIB, gated_in_parts);
    let second = Script::within(&limit, 40 * MIB, slow_at_first);
    let before = streaming(first.clone(), first.len());
    until("the first has all places", || free(&limit) == 0 && first.asked().len() > OTHERS).await;
    let after = streaming(second.clone(), second.len());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(second.asked().len(), 1, "there is no place");
    first.0.gate.send_replace(true);
    assert!(before.await.expect("no panic").expect("all of it") == first.0.content);
    assert!(after.await.expect("no panic").expect("all of it") == second.0.content);
    // Its first connection, the question whether the origin gives ranges, and parts.
    assert!(second.asked().len() > 4, "{:?}", second.asked());
    for script in [&first, &second] {
        assert!(script.0.open.most() <= 1 + OTHERS, "{}", script.0.open.most());
    }
    assert_eq!(free(&limit), OTHERS);
}

#[tokio::test]
async fn a_content_gets_connections_to_the_other_place_as_soon_as_the_one_before_has_ended() {
    let (none, limit) = (ConnectionLimit::of(0), ConnectionLimit::of(OTHERS));
    let beside = |size, cache| Beside {
        registry: Script::within(&none, size, |_, _| Answer::Slow),
        cache: Script::within(&limit, size, cache),
        is_cache: false,
    };
    let (first, second) = (beside(60 * MIB, |_, _| Answer::Gated), beside(60 * MIB, |_, _| Answer::Right));
    let before = streaming(first.clone(), 60 * MIB);
    until("the first has all places", || first.cache.asked().len() == OTHERS).await;
    let after = streaming(second.clone(), 60 * MIB);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(second.cache.asked(), [], "there is no place");
    first.cache.0.gate.send_replace(true);
    assert!(before.await.expect("no panic").expect("all of it") == first.cache.0.content);
    assert!(after.await.expect("no panic").expect("all of it") == second.cache.0.content);
    // Of eight parts the registry's only connection has some.
    assert!(second.cache.asked().len() >= 4, "{:?}", second.cache.asked());
    assert!(second.cache.0.open.most() <= OTHERS);
    assert_eq!(free(&limit), OTHERS);
}

#[tokio::test]
async fn a_connection_that_has_nothing_left_to_fetch_holds_no_place() {
    let limit = ConnectionLimit::of(OTHERS);
    // The last part stands still until another connection takes it over, and that one does so too.
    let script = Script::within(&limit, 60 * MIB, |range, number| match (range.start, number) {
        (_, 0) => Answer::Slow,
        (start, _) if start >= 50 * MIB => Answer::Gated,
        _ => Answer::Right,
    });
    let fetching = streaming(script.clone(), script.len());
    until("only those that fetch have places", || script.asked().len() > 4 && free(&limit) >= OTHERS - 2)
        .await;
    assert!(!fetching.is_finished());
    script.0.gate.send_replace(true);
    assert!(fetching.await.expect("no panic").expect("all of it") == script.0.content);
}
