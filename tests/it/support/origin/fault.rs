//! What the scripted origin can do wrong.

use tokio::sync::watch;

/// What goes wrong with requests whose path has a certain text in it.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Always this status.
    Status(u16),
    /// This status, with a `Retry-After` of so many seconds.
    RetryAfter(u16, u64),
    /// The connection ends after so many bytes of the body, for the first request.
    CutOnce(usize),
    /// The last byte is another one.
    Flip,
    /// So many bytes come, the rest when the gate opens.
    Gate(usize, watch::Receiver<bool>),
    /// Every connection ends at this byte of the content, so that no resumption comes further.
    CutAt(usize),
    /// No bytes at all, and a length that says so.
    Empty,
    /// The length is not told.
    NoLength,
    /// A length that is not told, and no end.
    Endless,
    /// A page for people instead of what was asked for.
    Html,
    /// This status, for the first request.
    StatusOnce(u16),
    /// A redirect to there.
    Redirect(u16, String),
    /// This status for a HEAD.
    NoHead(u16),
    /// A 401 does not say what is wanted; `/v2/` does.
    Silent,
    /// Headers of so many bytes.
    Headers(usize),
    /// To the same place again, for ever.
    Loop,
    /// The same as it should be, a little later each time a piece is sent.
    Slow,
    /// No answer at all.
    Hang,
    /// Ranges are ignored.
    NoRanges,
    /// Each connection gets so many bytes a second; what is done with ranges that do not reach the end.
    Throttle(usize, Parts),
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
