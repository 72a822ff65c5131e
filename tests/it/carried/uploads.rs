//! Large contents, each an entry of its own: uploaded while the job runs, and in the next slot where jobs were killed.

use std::time::Duration;

use hubcap_upstream::actions_cache::EntryKey;

use super::{Job, LARGE, gets};
use crate::support::actions_cache::{ActionsCache, MAIN};
use crate::support::origin::{Origin, quirk};
use crate::support::{eventually, image, noise};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_uploaded_while_a_pull_is_in_progress() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let large = image::put(&origin, "library/a:1", &[&noise(LARGE, 19)]);
    let slow = noise(300_000, 20);
    let other = image::put(&origin, "library/b:1", &[&slow]);
    let (open, gate) = tokio::sync::watch::channel(false);
    origin.quirk(&image::sha256(&slow), quirk::gate(1000, gate));
    let job = Job::start(&origin, &cache);
    let pulling = async {
        job.pull("b", &other).await;
    };
    let meanwhile = async {
        eventually("it is in progress", || gets(&origin, &image::sha256(&slow)) > 0).await;
        job.pull("a", &large).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(cache.asked_to_save(), 0);
        open.send_replace(true);
    };
    tokio::join!(pulling, meanwhile);
    eventually("it is uploaded after that", || !cache.saved().is_empty()).await;
    job.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_that_upload_the_same_content_at_once_save_it_once() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(LARGE, 16)]);
    cache.take(Duration::from_millis(100));
    let jobs = [Job::start(&origin, &cache), Job::start(&origin, &cache)];
    for job in &jobs {
        job.pull("a", &image).await;
    }
    for job in jobs {
        let said = job.end();
        assert!(said.contains("saved key@") || said.contains("nothing has changed"), "{said}");
    }
    assert_eq!(cache.saved().iter().filter(|key| key.starts_with("hubcap-b1-")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_would_not_end_soon_is_left_and_the_next_job_knows_that_its_slot_is_lost() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 17);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    let entry = format!("hubcap-b1-{}", &image::sha256(&layer)["sha256:".len()..]);
    cache.take_in_blocks(Duration::from_secs(600));
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    eventually("its upload is under way", || cache.asked_to_save() > 0).await;
    let said = first.end();
    assert!(said.contains("1 large contents are left") && said.contains("saved key@"), "{said}");

    cache.take_in_blocks(Duration::ZERO);
    let second = Job::start(&origin, &cache);
    second.pull("a", &image).await;
    eventually("it takes the next slot", || cache.saved().contains(&entry)).await;
    let asked =
        cache.log().into_iter().filter(|asked| asked.what == "CreateCacheEntry" && asked.key == entry);
    assert_eq!(
        asked.map(|asked| asked.status).collect::<Vec<_>>(),
        [200, 200],
        "and does not ask for the first"
    );
    let said = second.end();
    assert!(said.contains("saved key@") && !said.contains("are left for"), "{said}");

    let third = Job::start(&origin, &cache);
    origin.quirk("/blobs/", quirk::status(503));
    third.pull("a", &image).await;
    third.end();
}

/// Reserves the slots of a content that a job tries, as jobs that were killed do.
fn lose_slots(cache: &ActionsCache, layer: &[u8]) {
    let digest = image::sha256(layer).parse().expect("a digest");
    for slot in 0..4 {
        let key = EntryKey::content(&digest, slot);
        cache.reserve(MAIN, (key.key(), key.version()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_at_its_end_that_no_slot_of_a_content_is_free() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 23);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    lose_slots(&cache, &layer);
    let job = Job::start(&origin, &cache);
    job.pull("a", &image).await;
    eventually("its upload is tried", || cache.asked_to_save() > 0).await;
    let said = job.end();
    assert!(said.contains("not saved for later jobs: 4 entries were reserved for it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_the_slot_behind_those_that_an_earlier_one_waited_for_in_vain() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 24);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    lose_slots(&cache, &layer);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    eventually("the last one is waited for", || cache.asked_to_save() == 4).await;
    eventually("it is given up", || first.hubcap.log().contains("never completed")).await;
    first.end();

    let second = Job::start(&origin, &cache);
    second.pull("a", &image).await;
    let entry = EntryKey::content(&image::sha256(&layer).parse().expect("a digest"), 4).key().to_owned();
    eventually("it is uploaded", || cache.saved().contains(&entry)).await;
    second.end();
}
