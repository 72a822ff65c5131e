//! Whose turn it is to ask for a token: one request at a time for one requester, because all who wait for it get what came of it,
//! and several for different ones, because none of those is any use to another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::HeaderValue;

use super::state::Key;
use crate::error::Error;

/// What came of a request for a token.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) at: Instant,
    pub(super) token: Result<HeaderValue, Error>,
}

/// The turn of those who want the same token, with what the last request came to.
type Turn = Arc<tokio::sync::Mutex<Option<Fetched>>>;

/// The token requests of one upstream.
#[derive(Debug, Default)]
pub(super) struct Fetching(Mutex<HashMap<Key, Turn>>);

impl Fetching {
    /// The turn for this token. It is forgotten when nobody waits for it.
    pub(super) fn turn(&self, key: &Key) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::auth::{Requester, Who};

    fn key(repository: &str) -> Key {
        let place = "https://r.example".parse::<Url>().expect("a URL").origin();
        Key { place, requester: Requester { who: Who::Own, repository: repository.parse().expect("a name") } }
    }

    #[tokio::test]
    async fn a_turn_is_waited_for_by_those_who_want_the_same_token_alone() {
        let fetching = Fetching::default();
        let turn = fetching.turn(&key("a"));
        let _asking = turn.lock().await;
        assert!(fetching.turn(&key("a")).try_lock().is_err());
        assert!(fetching.turn(&key("b")).try_lock().is_ok());
    }

    #[test]
    fn a_turn_that_nobody_waits_for_is_forgotten() {
        let fetching = Fetching::default();
        for number in 0..100 {
            drop(fetching.turn(&key(&format!("a{number}"))));
        }
        assert_eq!(fetching.0.lock().expect("not poisoned").len(), 1);
    }
}
