//! What the scripted origin does otherwise than the specification says: a quirk is one small function of a request.
//!
//! It looks at the request, may change it, and returns `None` for one that is not its own. Of several quirks the first
//! that has an [`Act`] for a request decides.

mod challenges;
mod connections;
mod moves;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Method, header};
use tokio::sync::watch;

use super::asked::{Asked, Role};
use super::reply::Reply;

pub(crate) use challenges::{challenges, hidden, refuses_tokens, wants};
pub(crate) use connections::{closes_reused, hangs_reused, held, late, times_out_reused};
pub(crate) use moves::{moved, renamed, starting};

/// What becomes of one request.
pub(crate) enum Act {
    /// Nobody is asked: this is the answer.
    Answer(Reply),
    /// The plain answer, changed.
    Change(Box<dyn FnOnce(Reply) -> Reply + Send>),
    /// The plain answer, after so long.
    Late(Duration),
    /// The plain answer, when the gate opens.
    Held(watch::Receiver<bool>),
    /// No answer at all, and the connection stays open.
    Hang,
    /// No answer, and the connection ends.
    Close,
}

/// What a quirk decides; `None` leaves the request to others.
type Decide = dyn Fn(&mut Asked) -> Option<Act> + Send + Sync;

/// A quirk; a clone is the same one.
#[derive(Clone)]
pub(crate) struct Quirk(Arc<Decide>);

impl Quirk {
    pub(crate) fn new(decide: impl Fn(&mut Asked) -> Option<Act> + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(super) fn decide(&self, asked: &mut Asked) -> Option<Act> {
        (self.0)(asked)
    }
}

impl Act {
    pub(crate) fn status(status: u16) -> Option<Self> {
        Some(Self::Answer(Reply::status(status)))
    }

    pub(crate) fn change(change: impl FnOnce(Reply) -> Reply + Send + 'static) -> Option<Self> {
        Some(Self::Change(Box::new(change)))
    }
}

/// Answers instead of the origin.
pub(crate) fn answer(reply: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Quirk {
    Quirk::new(move |asked| reply(asked).map(Act::Answer))
}

/// Changes every answer.
pub(crate) fn change(change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Quirk {
    let change = Arc::new(change);
    Quirk::new(move |_| {
        let change = Arc::clone(&change);
        Act::change(move |reply| change(reply))
    })
}

/// Always this status.
pub(crate) fn status(status: u16) -> Quirk {
    answer(move |_| Some(Reply::status(status)))
}

/// This status, for the first request.
pub(crate) fn status_once(status: u16) -> Quirk {
    let done = AtomicBool::new(false);
    answer(move |_| (!done.swap(true, Ordering::SeqCst)).then(|| Reply::status(status)))
}

/// This status for a HEAD.
pub(crate) fn no_head(status: u16) -> Quirk {
    answer(move |asked| (asked.method == Method::HEAD).then(|| Reply::status(status)))
}

/// Only HEADs are answered oddly.
pub(crate) fn for_heads(odd: Quirk) -> Quirk {
    Quirk::new(move |asked| if asked.method == Method::HEAD { odd.decide(asked) } else { None })
}

/// Only the registry's answers to who sends no Authorization are odd.
pub(crate) fn without_login(odd: Quirk) -> Quirk {
    Quirk::new(move |asked| {
        let is_nobodys = asked.host == Role::Registry && asked.authorization.is_none();
        if is_nobodys { odd.decide(asked) } else { None }
    })
}

/// Only answers to who sends this Authorization are odd.
pub(crate) fn with_login(authorization: &'static str, odd: Quirk) -> Quirk {
    Quirk::new(
        move |asked| {
            if asked.authorization.as_deref() == Some(authorization) { odd.decide(asked) } else { None }
        },
    )
}

/// This status, with a `Retry-After` of so many seconds.
pub(crate) fn retry_after(status: u16, seconds: u64) -> Quirk {
    answer(move |_| Some(Reply::status(status).with("retry-after", &seconds.to_string())))
}

/// The registry, not its other hosts, redirects to there.
pub(crate) fn redirect(status: u16, location: impl Into<String>) -> Quirk {
    let location = location.into();
    answer(move |asked| {
        (asked.host == Role::Registry).then(|| Reply::status(status).with("location", &location))
    })
}

/// To the same place again, for ever.
pub(crate) fn redirect_loop() -> Quirk {
    answer(|asked| Some(Reply::status(307).with("location", &asked.target)))
}

/// A page for people instead of what was asked for.
pub(crate) fn html() -> Quirk {
    answer(|_| Some(Reply::new("<html>please log in</html>").with("content-type", "text/html")))
}

/// No answer at all.
pub(crate) fn hang() -> Quirk {
    Quirk::new(|_| Some(Act::Hang))
}

/// A 401 does not say what is wanted; `/v2/` does.
pub(crate) fn silent() -> Quirk {
    change(|reply| reply.without("www-authenticate"))
}

/// Headers of so many bytes.
pub(crate) fn headers(length: usize) -> Quirk {
    change(move |mut reply| {
        for (number, chunk) in vec![b'x'; length].chunks(4096).enumerate() {
            reply = reply.with(&format!("x-goog-{number}"), &String::from_utf8_lossy(chunk));
        }
        reply
    })
}

/// What is done with a request for a range, and with no other.
pub(crate) fn of_ranges(quirk: Quirk) -> Quirk {
    Quirk::new(
        move |asked| if asked.headers.contains_key(header::RANGE) { quirk.decide(asked) } else { None },
    )
}

/// What is done with a request for the whole, and with no other.
pub(crate) fn of_wholes(quirk: Quirk) -> Quirk {
    Quirk::new(
        move |asked| if asked.headers.contains_key(header::RANGE) { None } else { quirk.decide(asked) },
    )
}

/// Whatever has a body comes packed, asked for or not, and says so.
pub(crate) fn packed(coding: &'static str) -> Quirk {
    change(move |mut reply| {
        if !reply.is_content() {
            return reply;
        }
        reply.bytes = crate::support::packed(coding, &reply.bytes).into();
        reply.with("content-encoding", coding)
    })
}

/// Ranges are ignored.
pub(crate) fn no_ranges() -> Quirk {
    Quirk::new(|asked| {
        asked.headers.remove(header::RANGE);
        None
    })
}

/// Pages of tags have at most so many, whatever is asked.
pub(crate) fn pages_of(n: usize) -> Quirk {
    Quirk::new(move |asked| {
        let last = asked.query("last").map(|last| format!("&last={last}")).unwrap_or_default();
        asked.target = format!("{}?n={n}{last}", asked.path());
        None
    })
}

/// The last byte is another one.
pub(crate) fn flip() -> Quirk {
    change(|mut reply| {
        let mut wrong = reply.bytes.to_vec();
        if let Some(last) = wrong.last_mut() {
            *last ^= 1;
        }
        reply.bytes = wrong.into();
        reply
    })
}

/// No bytes at all, and a length that says so.
pub(crate) fn empty() -> Quirk {
    change(|mut reply| {
        reply.bytes = Bytes::new();
        reply
    })
}

/// The length is not told.
pub(crate) fn no_length() -> Quirk {
    change(|reply| if reply.is_content() { reply.untold() } else { reply })
}

/// A length that is not told, and no end.
pub(crate) fn endless() -> Quirk {
    endless_after(Duration::ZERO)
}

/// The same, but what is too much comes slowly: a client that takes all of it must not fill the tester's disk.
pub(crate) fn endless_slowly() -> Quirk {
    endless_after(Duration::from_millis(50))
}

fn endless_after(pause: Duration) -> Quirk {
    change(move |reply| {
        if !reply.is_content() {
            return reply;
        }
        let zeros = stream::repeat(Bytes::from_static(&[0; 64 << 10])).then(move |zeros| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            zeros
        });
        reply.untold().sent_by(|bytes| stream::iter([bytes]).chain(zeros).map(Ok))
    })
}

/// The connection ends after so many bytes of the body, for the first request that gets one.
pub(crate) fn cut_once(length: usize) -> Quirk {
    let done = Arc::new(AtomicBool::new(false));
    Quirk::new(move |asked| {
        let done = Arc::clone(&done);
        if asked.method != Method::GET || done.load(Ordering::SeqCst) {
            return None;
        }
        Act::change(move |reply| {
            // A redirect has no body to cut.
            if !reply.is_content() || done.swap(true, Ordering::SeqCst) {
                return reply;
            }
            reply.sent_by(move |bytes| cut(bytes, length))
        })
    })
}

/// Every connection ends at this byte of the content, so that no resumption comes further.
pub(crate) fn cut_at(byte: usize) -> Quirk {
    change(move |reply| {
        let left = byte.saturating_sub(reply.start);
        if reply.is_content() { reply.sent_by(move |bytes| cut(bytes, left)) } else { reply }
    })
}

/// So many bytes come, the rest when the gate opens.
pub(crate) fn gate(length: usize, gate: watch::Receiver<bool>) -> Quirk {
    change(move |reply| {
        let mut gate = gate.clone();
        if !reply.is_content() {
            return reply;
        }
        reply.sent_by(move |mut bytes| {
            let head = bytes.split_to(length.min(bytes.len()));
            let rest = stream::once(async move {
                gate.wait_for(|open| *open).await.map_err(std::io::Error::other)?;
                Ok(bytes)
            });
            stream::iter([Ok(head)]).chain(rest)
        })
    })
}

/// The same as it should be, a little later each time a piece is sent.
pub(crate) fn slow() -> Quirk {
    change(|reply| {
        let piece = reply.bytes.len() / 10 + 1;
        reply.sent_by(move |bytes| paced(bytes, piece).map(Ok))
    })
}

/// Each connection gets so many bytes a second; what is done with ranges that do not reach the end.
pub(crate) fn throttle(rate: usize, parts: Parts) -> Quirk {
    Quirk::new(move |asked| {
        let is_part = asked.text(header::RANGE).is_some_and(|range| !range.ends_with('-'));
        let sending = is_part.then(|| Sending::begin(&asked.open_parts));
        match (&sending, parts) {
            (Some(_), Parts::Refused) => return Act::status(503),
            (Some(sending), Parts::Few(most)) if sending.before >= most => return Act::status(429),
            (Some(_), Parts::Ignored) => drop(asked.headers.remove(header::RANGE)),
            (Some(_), Parts::Other) => {
                asked.headers.insert(header::RANGE, "bytes=0-999".parse().expect("a value"));
            }
            _ => {}
        }
        Act::change(move |reply| {
            if !reply.is_content() {
                return reply;
            }
            reply.sent_by(move |bytes| {
                // 50 pieces a second.
                let pieces = paced(bytes, rate / 50).map(Ok);
                // Counted as open until its body has gone.
                let counted = move |piece| {
                    let _open = &sending;
                    piece
                };
                if is_part && parts == Parts::Cut {
                    let cut = stream::iter([Err(std::io::Error::other("cut"))]);
                    return pieces.take(5).chain(cut).map(counted).left_stream();
                }
                pieces.map(counted).right_stream()
            })
        })
    })
}

/// What a throttling origin does when it is asked for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    Given,
    /// The whole comes instead.
    Ignored,
    /// 503.
    Refused,
    /// Given to so many connections at a time, 429 beyond.
    Few(usize),
    /// Broken off after some bytes, each time.
    Cut,
    /// Another part than the one asked for.
    Other,
}

/// How many parts are being sent by an origin's quirks.
#[derive(Debug, Default)]
pub(super) struct OpenParts {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl OpenParts {
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A part that is being sent.
struct Sending {
    open: Arc<OpenParts>,
    /// How many were, when it began.
    before: usize,
}

impl Sending {
    fn begin(open: &Arc<OpenParts>) -> Self {
        let before = open.now.fetch_add(1, Ordering::SeqCst);
        open.most.fetch_max(before + 1, Ordering::SeqCst);
        Self { open: Arc::clone(open), before }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.open.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The first so many bytes, and then the connection ends.
pub(crate) fn cut(mut bytes: Bytes, length: usize) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    bytes.truncate(length);
    // A pause, so that what came before the cut is really sent.
    let cut = stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    stream::iter([Ok(bytes)]).chain(cut)
}

fn paced(mut bytes: Bytes, piece: usize) -> impl Stream<Item = Bytes> + Send {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        pieces.push(bytes.split_to(piece.clamp(1, bytes.len())));
    }
    stream::iter(pieces).then(async |piece| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        piece
    })
}
