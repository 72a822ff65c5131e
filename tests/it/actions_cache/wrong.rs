//! Answers that cannot be right, and calls that fail when all bytes are there.

use hubcap_upstream::Error as FetchError;
use hubcap_upstream::actions_cache::{Denial, Error, Uploaded};

use super::upload::put;
use super::{MIB, content, fetched, named, of_main};
use crate::support::actions_cache::{ActionsCache as Stand, MAIN, Reads};
use crate::support::noise;

const LOOK_UP: &str = "GetCacheEntryDownloadURL";
const CREATE: &str = "CreateCacheEntry";
const FINALIZE: &str = "FinalizeCacheEntryUpload";

#[tokio::test]
async fn a_look_up_whose_answer_makes_no_sense_ends_look_ups_for_a_while() {
    for words in ["{\"ok\":true,", "", "<html>", r#"{"ok":true}"#, r#"{"ok":true,"matched_key":"x"}"#] {
        let stand = Stand::start();
        let cache = of_main(&stand);
        stand.say(LOOK_UP, 1, (200, words));
        let error = cache.find(&content(b"it")).await.expect_err(words).to_string();
        assert!(error.starts_with("the Actions cache is of no use: "), "{words}: {error}");
        assert!(!cache.may_read() && cache.may_write(), "{words}");
    }
}

#[tokio::test]
async fn a_key_with_control_characters_is_no_key() {
    let stand = Stand::start();
    let words =
        r#"{"ok":true,"matched_key":"x\n::error::y","signed_download_url":"http://127.0.0.1:9/x?sig=1"}"#;
    stand.say(LOOK_UP, 1, (200, words));
    let error = of_main(&stand).find(&content(b"it")).await.expect_err("no key").to_string();
    assert!(error.contains("control characters") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn a_creation_whose_answer_makes_no_sense_may_have_taken_its_key() {
    let stand = Stand::start();
    for words in ["{\"ok\":true,", r#"{"ok":true,"signed_upload_url":"/x"}"#] {
        stand.say(CREATE, 1, (200, words));
        let error = put(&of_main(&stand), b"it").await.expect_err(words);
        assert!(error.may_have_reserved(), "{words}: {error}");
    }
    assert_eq!(stand.count(CREATE), 2, "neither was asked again");
}

#[tokio::test]
async fn an_end_of_an_upload_that_fails_is_asked_for_again() {
    let stand = Stand::start();
    stand.say(FINALIZE, 2, (500, ""));
    let bytes = noise(9 * MIB, 1);
    assert_eq!(put(&of_main(&stand), &bytes).await, Ok(Uploaded::Saved));
    assert_eq!((stand.count(FINALIZE), stand.count("PUT block")), (3, 2));
    assert!(stand.bytes(content(&bytes).key()).expect("an entry") == bytes);
}

#[tokio::test]
async fn an_end_of_an_upload_whose_answer_was_lost_is_found_out() {
    let stand = Stand::start();
    stand.lose(FINALIZE, 1);
    assert_eq!(put(&of_main(&stand), b"it").await, Ok(Uploaded::Saved));
    assert_eq!((stand.count(FINALIZE), stand.count(LOOK_UP)), (1, 1));
}

#[tokio::test]
async fn when_the_job_ends_an_end_of_an_upload_that_fails_is_waited_for_a_little() {
    let stand = Stand::start();
    stand.say(FINALIZE, 100, (503, ""));
    let cache = of_main(&stand);
    cache.end();
    let error = put(&cache, b"it").await.expect_err("it fails");
    assert!(matches!(error, Error::Away(_)) && error.may_have_reserved(), "{error}");
    assert_eq!(stand.count(FINALIZE), 3);
}

#[tokio::test]
async fn a_token_that_runs_out_between_a_creation_and_its_end_ends_everything() {
    let stand = Stand::start();
    stand.say(FINALIZE, 1, (401, r#"{"code":"unauthenticated","msg":"the token has expired"}"#));
    let cache = of_main(&stand);
    assert_eq!(put(&cache, b"it").await, Err(Error::WriteDenied(Denial::Answer)));
    assert!(!cache.may_read() && !cache.may_write());
    assert_eq!(put(&cache, b"other").await, Err(Error::WriteDenied(Denial::Answer)));
    assert_eq!(stand.count(CREATE), 1);
}

#[tokio::test]
async fn what_the_blob_store_says_against_a_range_is_an_error_and_no_content() {
    let stand = Stand::start();
    let (key, bytes) = (content(b"it"), noise(MIB, 1));
    stand.put(MAIN, named(&key), bytes);
    for (reads, look_ups) in
        [(Reads::Whole, 1), (Reads::Elsewhere, 1), (Reads::Fail(403), 2), (Reads::Fail(416), 1)]
    {
        stand.read_as(reads);
        let before = stand.count(LOOK_UP);
        let entry = of_main(&stand).find(&key).await.expect("an answer").expect("an entry");
        let error = fetched(entry.file(Some(100..200), None)).await.expect_err("refused");
        assert!(!error.to_string().contains("sig="), "{error}");
        assert_eq!(stand.count(LOOK_UP) - before, look_ups, "{reads:?}: {error}");
        assert!(reads != Reads::Elsewhere || error == FetchError::NotFound, "{error}");
    }
}
