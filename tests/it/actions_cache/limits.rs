//! The service's limits, one for each of its calls, and what it denies.

use std::time::{Duration, Instant};

use hubcap_upstream::actions_cache::{Call, Denial, Error, Mode, Uploaded};

use super::upload::{never_paused, put};
use super::{content, named, of_main, with_token};
use crate::support::actions_cache::{ActionsCache as Stand, MAIN};
use crate::support::eventually;

const LOOK_UP: &str = "GetCacheEntryDownloadURL";
const CREATE: &str = "CreateCacheEntry";
const FINALIZE: &str = "FinalizeCacheEntryUpload";

#[tokio::test]
async fn after_a_429_nothing_is_looked_up_until_its_time_is_over() {
    let stand = Stand::start();
    let key = content(b"it");
    stand.put(MAIN, named(&key), "it");
    let cache = of_main(&stand);
    stand.refuse(LOOK_UP, 1, 1);
    let retry_after = Duration::from_secs(1);
    let refused = cache.find(&key).await.expect_err("a 429");
    assert_eq!(refused, Error::RateLimited { call: Call::LookUp, retry_after });
    assert_eq!(refused.to_string(), "the Actions cache's limit of look-ups is reached; it asks to wait 1 s");
    assert!(!cache.may_read() && cache.find(&key).await.is_err());
    assert_eq!(stand.count(LOOK_UP), 1, "the second one was not made");
    eventually("look-ups again", || cache.may_read()).await;
    assert!(cache.find(&key).await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_slow_look_up_is_made_once() {
    let stand = Stand::start();
    stand.take(Duration::from_millis(250));
    let (cache, key) = (of_main(&stand), content(b"it"));
    for _ in 0..2 {
        assert!(cache.find(&key).await.expect("an answer").is_none());
    }
    let log = stand.log();
    assert!(log.len() == 2 && log.iter().all(|asked| asked.key == key.key()), "{log:?}");
}

#[tokio::test]
async fn a_429_to_an_upload_is_waited_for() {
    for method in [CREATE, FINALIZE] {
        let stand = Stand::start();
        stand.refuse(method, 1, 1);
        let begun = Instant::now();
        assert_eq!(put(&of_main(&stand), b"it").await, Ok(Uploaded::Saved), "{method}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{method}");
        assert_eq!(stand.count(method), 2);
    }
}

#[tokio::test]
async fn a_429_of_more_than_a_minute_ends_an_upload_and_no_look_up() {
    let stand = Stand::start();
    stand.refuse(CREATE, 1, 61);
    let cache = of_main(&stand);
    let refused = put(&cache, b"it").await.expect_err("a 429").to_string();
    assert!(refused.starts_with("the Actions cache is not asked for new entries for another 6"), "{refused}");
    assert!(cache.may_read() && cache.find(&content(b"it")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_429_of_half_a_minute_is_not_waited_for_when_the_job_ends() {
    let stand = Stand::start();
    stand.refuse(CREATE, 2, 30);
    let waits = of_main(&stand);
    let waiting = tokio::spawn({
        let cache = waits.clone();
        async move { put(&cache, b"it").await }
    });
    eventually("it is refused", || stand.count(CREATE) == 1).await;
    waits.end();
    let late = of_main(&stand);
    late.end();
    for refused in [waiting.await.expect("no panic"), put(&late, b"other").await] {
        let refused = refused.expect_err("a 429").to_string();
        assert!(
            refused.starts_with("the Actions cache is not asked for new entries for another "),
            "{refused}"
        );
    }
    assert_eq!(stand.count(CREATE), 2, "neither waited until it could ask again");
}

#[tokio::test]
async fn a_repository_has_two_hundred_creations_a_minute() {
    let stand = Stand::start();
    let cache = of_main(&stand);
    for number in 0..200_u32 {
        stand.reserve(MAIN, named(&content(&number.to_le_bytes())));
    }
    for number in 0..200_u32 {
        let taken = put(&cache, &number.to_le_bytes()).await;
        assert_eq!(taken, Ok(Uploaded::Reserved));
    }
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move { put(&cache, b"one more").await })
    };
    eventually("it is asked for", || stand.count(CREATE) == 201).await;
    assert!(cache.find(&content(b"one more")).await.expect("an answer").is_none());
    assert!(!waiting.is_finished(), "it waits for as long as the service says");
    waiting.abort();
    stand.advance(Duration::from_secs(60));
    let another = of_main(&stand);
    assert_eq!(put(&another, b"one more").await, Ok(Uploaded::Saved));
}

#[tokio::test]
async fn a_denied_write_is_asked_for_once_in_a_job() {
    let stand = Stand::start();
    // Such a token does not say what it is for.
    let cache = with_token(&stand.url, "main:read", Mode::Write);
    assert!(cache.may_write());
    let denied = put(&cache, b"it").await;
    assert_eq!(denied, Err(Error::WriteDenied(Denial::Answer)));
    assert_eq!(put(&cache, b"other").await, denied);
    assert_eq!(stand.count(CREATE), 1);
    assert!(cache.may_read() && !cache.may_write());
}

#[tokio::test]
async fn a_token_that_the_service_does_not_take_ends_everything() {
    let stand = Stand::start();
    let cache = with_token(&stand.url, "", Mode::Write);
    assert_eq!(cache.find(&content(b"it")).await.err(), Some(Error::ReadDenied(Denial::Answer)));
    assert!(!cache.may_read());
    let cache = with_token(&stand.url, "", Mode::Write);
    let denied = cache.upload(&content(b"it"), 2, |_| Ok("it".into()), never_paused()).await;
    assert_eq!(denied, Err(Error::WriteDenied(Denial::Answer)));
    assert!(!cache.may_read() && !cache.may_write());
}

#[tokio::test]
async fn a_repository_that_has_no_space_left_is_not_waited_for() {
    let stand = Stand::start();
    stand.fill_up();
    let cache = of_main(&stand);
    let refused = put(&cache, b"it").await.expect_err("there is no space");
    assert_eq!(refused.to_string(), "the Actions cache of this repository has no space left");
    assert_eq!(stand.count(CREATE), 1);
    assert!(cache.may_read() && cache.find(&content(b"it")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn what_was_not_used_for_longest_is_evicted() {
    let stand = Stand::start();
    stand.quota(7);
    let cache = of_main(&stand);
    for bytes in [b"one", b"two"] {
        put(&cache, bytes).await.expect("saved");
    }
    let found = async |bytes: &[u8]| cache.find(&content(bytes)).await.expect("an answer").is_some();
    assert!(found(b"one").await);
    put(&cache, b"six").await.expect("saved");
    assert!(found(b"one").await && found(b"six").await && !found(b"two").await);
}
