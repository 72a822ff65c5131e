//! What becomes of connections that are used again.

use std::time::Duration;

use tokio::sync::watch;

use super::{Act, Quirk, answer};
use crate::support::origin::Reply;

/// They end when the next request comes.
pub(crate) fn closes_reused() -> Quirk {
    Quirk::new(|asked| (asked.nth > 0).then_some(Act::Close))
}

/// The next request gets no answer.
pub(crate) fn hangs_reused() -> Quirk {
    Quirk::new(|asked| (asked.nth > 0).then_some(Act::Hang))
}

/// The next request gets a 408, and they end.
pub(crate) fn times_out_reused() -> Quirk {
    answer(|asked| (asked.nth > 0).then(|| Reply::status(408).with("connection", "close")))
}

/// The answer comes when the gate opens, as it is then.
pub(crate) fn held(gate: watch::Receiver<bool>) -> Quirk {
    Quirk::new(move |_| Some(Act::Held(gate.clone())))
}

/// The answer comes after so long.
pub(crate) fn late(time: Duration) -> Quirk {
    Quirk::new(move |_| Some(Act::Late(time)))
}
