//! Contents that are elsewhere.

use super::{Quirk, answer};
use crate::support::origin::{Reply, Role};

/// This host redirects everything to another address, behind which the path stays the same.
pub(crate) fn moved(status: u16, role: Role, to: impl Into<String>) -> Quirk {
    let to = to.into();
    answer(move |asked| {
        let location = || format!("{to}{}", asked.target);
        (asked.host == role).then(|| Reply::status(status).with("location", &location()))
    })
}

/// A quirk for paths alone that begin so.
pub(crate) fn starting(begin: &str, quirk: Quirk) -> Quirk {
    let begin = begin.to_owned();
    Quirk::new(move |asked| if asked.target.starts_with(&begin) { quirk.decide(asked) } else { None })
}

/// What is asked for under a path that begins so is the content that is at another one.
pub(crate) fn renamed(from: &str, to: &str) -> Quirk {
    let (from, to) = (from.to_owned(), to.to_owned());
    Quirk::new(move |asked| {
        if let Some(rest) = asked.target.strip_prefix(&from) {
            asked.target = format!("{to}{rest}");
        }
        None
    })
}
