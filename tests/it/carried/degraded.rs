//! A service that answers what cannot be right, late, or not at all: it costs a sentence, and no pull waits long for it.

use std::time::{Duration, Instant};

use hubcap_oci::Digest;
use hubcap_upstream::actions_cache::EntryKey;

use super::{Job, LARGE, gets};
use crate::support::actions_cache::{ActionsCache, MAIN, Reads};
use crate::support::hubcap::manifest;
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, image, noise};

const LOOK_UP: &str = "GetCacheEntryDownloadURL";
const FINALIZE: &str = "FinalizeCacheEntryUpload";

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_whose_answer_makes_no_sense_is_told_and_what_is_new_is_saved() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 31)]);
    cache.say(LOOK_UP, 1, (200, "{\"ok\":true,"));
    let job = Job::start(&origin, &cache);
    job.pull("a", &image).await;
    let trouble = "the Actions cache is of no use: an answer of it cannot be read";
    assert_eq!(job.trouble().as_deref(), Some(trouble));
    let said = job.end();
    assert!(said.contains("saved key@"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_answers_no_more_is_waited_for_once() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layers: Vec<Vec<u8>> = (50..58).map(|seed| noise(300_000, seed)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = image::put(&origin, "library/a:1", &layers);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    first.end();
    let second = Job::start(&origin, &cache);
    let begun = second.hubcap.get(&manifest("a", "1")).await;
    assert_eq!(begun.status(), 200);
    origin.forget();
    cache.hold(true);
    let began = Instant::now();
    second.pull("a", &image).await;
    // It was 5 s for each layer.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(image.blobs[1..].iter().all(|digest| gets(&origin, digest) == 1), "{:?}", origin.log());
    cache.hold(false);
    second.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_are_answered_wrongly_are_made_up_for_by_the_registry() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 34)]);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    first.end();
    for reads in [Reads::Whole, Reads::Elsewhere, Reads::Fail(403), Reads::Fail(416), Reads::Fail(500)] {
        let job = Job::start(&origin, &cache);
        let begun = job.hubcap.get(&manifest("a", "1")).await;
        assert_eq!(begun.status(), 200);
        cache.read_as(reads);
        origin.forget();
        job.pull("a", &image).await;
        assert_eq!(gets(&origin, &image.blobs[1]), 1, "{reads:?}: {:?}", origin.log());
        cache.read_as(Reads::Right);
        job.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_length_is_not_named_again() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 35);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    let digest: Digest = image::sha256(&layer).parse().expect("a digest");
    let key = EntryKey::content(&digest, 0);
    cache.put(MAIN, (key.key(), key.version()), noise(LARGE - 1, 36));
    // So slow that the cache is asked beside it.
    origin.quirk(&digest.to_string(), quirk::throttle(20 << 20, quirk::Parts::Refused));
    let job = Job::start(&origin, &cache);
    job.pull("a", &image).await;
    job.end_with_another_entry(&key).await;
    let second = Job::start(&origin, &cache);
    origin.quirk("/blobs/", quirk::status(503));
    second.pull("a", &image).await;
    second.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_whose_blocks_are_refused_is_told_and_the_rest_is_saved() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(LARGE, 37), &noise(300_000, 38)]);
    let job = Job::start(&origin, &cache);
    cache.fail(&[400]);
    job.pull("a", &image).await;
    eventually("a block is refused", || cache.log().iter().any(|asked| asked.status == 400)).await;
    let said = job.end();
    assert!(
        said.contains("a large content is not saved for later jobs: the Actions cache refuses "),
        "{said}"
    );
    assert!(said.contains("saved key@"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_while_the_job_works_costs_one_sentence() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 39)]);
    let job = Job::start(&origin, &cache);
    job.pull("a", &image).await;
    let expired = (401, r#"{"code":"unauthenticated","msg":"the token has expired"}"#);
    for method in [LOOK_UP, "CreateCacheEntry", FINALIZE] {
        cache.say(method, 100, expired);
    }
    let said = job.end();
    let why = "nothing is written to the Actions cache: the service denies it to this job";
    assert!(said.contains(&format!("nothing is saved for later jobs: {why}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_whose_end_fails_is_saved_by_the_next_call() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 40)]);
    let job = Job::start(&origin, &cache);
    job.pull("a", &image).await;
    cache.say(FINALIZE, 1, (500, ""));
    let said = job.end();
    assert!(said.contains("saved key@"), "{said}");
    assert_eq!((cache.saved().len(), cache.count("CreateCacheEntry")), (1, 1));
}
