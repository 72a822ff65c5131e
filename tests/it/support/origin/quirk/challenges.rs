//! Who may have what, and what is said to the others.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::header;

use super::{Act, Quirk, change};
use crate::support::origin::{Reply, Role};

/// A 401 with these challenges.
fn unauthorized(challenges: &[String]) -> Reply {
    challenges.iter().fold(Reply::status(401), |reply, one| reply.and("www-authenticate", one))
}

/// What is refused with a challenge is refused with these instead.
pub(crate) fn challenges(challenges: Vec<String>) -> Quirk {
    change(move |reply| {
        let has_one = reply.status == 401 && reply.headers.contains_key(header::WWW_AUTHENTICATE);
        if has_one { unauthorized(&challenges) } else { reply }
    })
}

/// A 401 is this status, and says nothing of what is wanted.
pub(crate) fn hidden(status: u16) -> Quirk {
    change(move |reply| if reply.status == 401 { Reply::status(status) } else { reply })
}

/// This host wants an Authorization that begins so, by these challenges, and nothing else.
pub(crate) fn wants(role: Role, begin: &'static str, challenges: Vec<String>) -> Quirk {
    Quirk::new(move |asked| {
        if asked.host != role {
            return None;
        }
        let shown = asked.headers.remove(header::AUTHORIZATION);
        let is_right = shown.is_some_and(|value| value.as_bytes().starts_with(begin.as_bytes()));
        (!is_right).then(|| Act::Answer(unauthorized(&challenges)))
    })
}

/// The first so many tokens are refused, by these challenges.
pub(crate) fn refuses_tokens(most: usize, challenges: Vec<String>) -> Quirk {
    let refused = AtomicUsize::new(0);
    Quirk::new(move |asked| {
        let is_shown = asked.headers.contains_key(header::AUTHORIZATION);
        (is_shown && refused.fetch_add(1, Ordering::SeqCst) < most)
            .then(|| Act::Answer(unauthorized(&challenges)))
    })
}
