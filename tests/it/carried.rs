//! Contents that are carried from job to job in GitHub's cache: found by their digest, fetched beside the registry, uploaded
//! while the job runs.

mod degraded;
mod uploads;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::Method;
use hubcap_upstream::actions_cache::EntryKey;
use serde_json::json;

use crate::support::actions_cache::{ActionsCache, BOTH, MAIN, READ};
use crate::support::eventually;
use crate::support::hubcap::{Hubcap, Place, blob, manifest, run};
use crate::support::image::{self, Image};
use crate::support::noise;
use crate::support::origin::{Origin, quirk};

/// Larger than what a pack has.
const LARGE: usize = 40 << 20;

/// A job: a new machine, with the repository's cache.
struct Job<'a> {
    place: Place,
    hubcap: Hubcap,
    cache: &'a ActionsCache,
}

impl<'a> Job<'a> {
    fn start(origin: &Origin, cache: &'a ActionsCache) -> Self {
        Self::start_with(origin, cache, &["key"], &ActionsCache::token(&[(MAIN, BOTH)]))
    }

    fn start_with(origin: &Origin, cache: &'a ActionsCache, keys: &[&str], token: &str) -> Self {
        let place = Place::new();
        let told = json!({"results-url": cache.url, "token": token, "mode": null, "keys": keys});
        let path = place.dir.path().join("told");
        File::create(&path)
            .and_then(|mut file| file.write_all(told.to_string().as_bytes()))
            .expect("written");
        let command = place.serve(&origin.url(), &["--job-cache"]);
        let hubcap = Hubcap::spawn_with(command, Stdio::from(File::open(&path).expect("there")));
        std::fs::remove_file(path).expect("removed");
        Self { place, hubcap, cache }
    }

    async fn pull(&self, name: &str, image: &Image) {
        let answer = self.hubcap.get(&manifest(name, "1")).await;
        assert_eq!(answer.status(), 200, "{}", self.hubcap.log());
        assert_eq!(answer.bytes().await.expect("a body"), image.manifest);
        for digest in &image.blobs {
            let answer = self.hubcap.get(&blob(name, digest)).await;
            assert_eq!(answer.status(), 200, "{}", self.hubcap.log());
            assert_eq!(image::sha256(&answer.bytes().await.expect("a body")), *digest);
        }
    }

    /// Why it began with nothing, as its first step says.
    fn trouble(&self) -> Option<String> {
        let mut answer = String::new();
        UnixStream::connect(self.place.state().join("admin.sock"))
            .and_then(|mut socket| {
                socket.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
                socket.read_to_string(&mut answer)
            })
            .expect("an answer");
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        let status: serde_json::Value = serde_json::from_str(body).expect("a status");
        status["carry-trouble"].as_str().map(str::to_owned)
    }

    /// Ends it; what its last step said.
    fn end(self) -> String {
        let state = self.place.state();
        let output = run(self.place.dir.path(), &["down", "--state", state.to_str().expect("text")]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let log = self.hubcap.log();
        assert!(!log.contains("s3cret") && !said.contains("s3cret") && !log.contains("sig="), "{log}");
        said
    }

    /// Ends it when a [`LARGE`] content that has an entry of this key is saved in another one.
    async fn end_with_another_entry(self, key: &EntryKey) {
        let entries = || self.cache.saved().iter().filter(|saved| *saved == key.key()).count();
        eventually("it is uploaded", || entries() == 2).await;
        let said = self.end();
        assert!(said.contains("uploaded 41.9 MB") && said.contains("saved key@"), "{said}");
    }

    fn packs(&self) -> Vec<String> {
        self.cache.saved().into_iter().filter(|key| key.starts_with("key@")).collect()
    }
}

fn gets(origin: &Origin, digest: &str) -> usize {
    origin.count(&Method::GET, digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_images_a_b_a_a_hit_and_the_last_one_saves_nothing() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let a = image::put(&origin, "library/a:1", &[&noise(300_000, 1)]);
    let b = image::put(&origin, "library/b:1", &[&noise(300_000, 2)]);
    for (number, (name, image)) in [("a", &a), ("b", &b), ("a", &a), ("a", &a)].into_iter().enumerate() {
        let job = Job::start(&origin, &cache);
        origin.forget();
        job.pull(name, image).await;
        let asked: usize = image.blobs.iter().map(|digest| gets(&origin, digest)).sum();
        assert_eq!(asked > 0, number < 2, "job {number}: {:?}", origin.log());
        let said = job.end();
        assert_eq!(said.contains("saved key@"), number < 2, "{said}");
        assert_eq!(said.contains("nothing that it pulled was there"), number == 1, "{said}");
    }
    assert_eq!(cache.saved().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_large_contents_are_not_there_is_not_called_another_image() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(LARGE, 5), &noise(20_000, 6)]);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    let is_large = |key: &String| key.starts_with("hubcap-b1-");
    eventually("it is uploaded", || cache.saved().iter().any(is_large)).await;
    first.end();
    for key in cache.saved().into_iter().filter(is_large) {
        cache.evict(&key);
    }
    let second = Job::start(&origin, &cache);
    second.pull("a", &image).await;
    let said = second.end();
    assert!(!said.contains("nothing that it pulled was there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_is_an_entry_that_other_keys_share_and_comes_although_the_registry_fails() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let (layer, small) = (noise(LARGE, 3), noise(200_000, 4));
    let image = image::put(&origin, "library/a:1", &[&layer, &small]);
    let large = image::sha256(&layer);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    let entry = format!("hubcap-b1-{}", &large["sha256:".len()..]);
    eventually("it is uploaded while the job runs", || cache.saved().contains(&entry)).await;
    assert!(first.packs().is_empty());
    let said = first.end();
    assert!(said.contains("uploaded 41.9 MB while the job ran"), "{said}");
    assert_eq!(cache.bytes(&entry).expect("there"), layer);

    // Another key: nothing but the digest leads there, and it is not uploaded again.
    let token = ActionsCache::token(&[(MAIN, BOTH)]);
    let second = Job::start_with(&origin, &cache, &["other"], &token);
    second.pull("a", &image).await;
    second.end();
    assert_eq!(cache.saved().iter().filter(|key| **key == entry).count(), 1);
    assert_eq!(cache.count("CreateCacheEntry"), 3, "an entry and two packs");

    // And from the cache alone, where the registry gives no blob.
    let third = Job::start(&origin, &cache);
    origin.quirk("/blobs/", quirk::status(503));
    third.pull("a", &image).await;
    third.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_that_share_a_key_and_run_at_once_all_hit_in_their_second_run() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let names = ["one", "two", "three"];
    let images: Vec<Image> = names
        .into_iter()
        .zip(11..)
        .map(|(name, seed)| image::put(&origin, &format!("library/{name}:1"), &[&noise(300_000, seed)]))
        .collect();
    let legs: Vec<Job<'_>> = names.iter().map(|_| Job::start(&origin, &cache)).collect();
    for ((leg, name), image) in legs.iter().zip(names).zip(&images) {
        leg.pull(name, image).await;
    }
    for leg in legs {
        let said = leg.end();
        assert!(said.contains("saved key@"), "{said}");
    }
    origin.quirk("/blobs/", quirk::status(503));
    for (name, image) in names.into_iter().zip(&images) {
        let leg = Job::start(&origin, &cache);
        leg.pull(name, image).await;
        leg.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_nothing_yet_reads_what_the_next_one_has() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 14)]);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    first.end();
    origin.quirk("/blobs/", quirk::status(503));
    let token = ActionsCache::token(&[(MAIN, BOTH)]);
    let leg = Job::start_with(&origin, &cache, &["key-of-a-leg", "key"], &token);
    leg.pull("a", &image).await;
    let said = leg.end();
    assert!(said.contains("saved key-of-a-leg@"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_drips_holds_up_nothing_that_the_cache_has() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 15);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    eventually("it is uploaded", || !cache.saved().is_empty()).await;
    first.end();
    origin.quirk(&image::sha256(&layer), quirk::throttle(300_000, quirk::Parts::Refused));
    let second = Job::start(&origin, &cache);
    let began = Instant::now();
    second.pull("a", &image).await;
    // By the registry alone it would be 140 s.
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    assert!(gets(&origin, &image::sha256(&layer)) > 0, "both are asked");
    second.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_with_one_look_up_and_one_read() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 18)]);
    let first = Job::start(&origin, &cache);
    first.pull("a", &image).await;
    first.end();
    let before = cache.log().len();
    origin.forget();
    let second = Job::start(&origin, &cache);
    assert_eq!(second.hubcap.get(&manifest("a", "1")).await.status(), 200);
    let asked = || cache.log().split_off(before).into_iter().map(|asked| asked.what).collect::<Vec<_>>();
    assert_eq!(asked(), ["GetCacheEntryDownloadURL", "GET"]);
    second.pull("a", &image).await;
    assert_eq!(asked(), ["GetCacheEntryDownloadURL", "GET", "GET"], "the layer is read by its range");
    assert_eq!(image.blobs.iter().map(|digest| gets(&origin, digest)).sum::<usize>(), 0);
    second.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_carried() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "org/private:1", &[&noise(LARGE, 5)]);
    origin.make_private("org/private", "me:hunter2", "Bearer client-s3cret");
    let job = Job::start(&origin, &cache);
    let login = [("authorization", "Bearer client-s3cret")];
    for path in std::iter::once(manifest("org/private", "1"))
        .chain(image.blobs.iter().map(|digest| blob("org/private", digest)))
    {
        assert_eq!(job.hubcap.ask(Method::GET, &path, &login).await.status(), 200, "{path}");
    }
    let said = job.end();
    assert!(said.contains("nothing was pulled that later jobs may have"), "{said}");
    assert_eq!(cache.asked_to_save(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_with_other_bytes_costs_time_and_nothing_else() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 6);
    image::put(&origin, "library/a:1", &[&layer]);
    let digest: hubcap_oci::Digest = image::sha256(&layer).parse().expect("a digest");
    let key = EntryKey::content(&digest, 0);
    cache.put(MAIN, (key.key(), key.version()), noise(LARGE, 7));
    // So slow that some of it comes from the cache.
    origin.quirk(&digest.to_string(), quirk::throttle(20 << 20, quirk::Parts::Refused));
    let job = Job::start(&origin, &cache);
    assert_eq!(job.hubcap.get(&manifest("a", "1")).await.status(), 200);
    let path = blob("a", &digest.to_string());
    eventually_right(&job, &path, &digest.to_string()).await;
    // It is saved beside that, and found by the next job.
    job.end_with_another_entry(&key).await;
    let second = Job::start(&origin, &cache);
    origin.quirk("/blobs/", quirk::status(503));
    assert_eq!(second.hubcap.get(&manifest("a", "1")).await.status(), 200);
    let body = second.hubcap.get(&path).await.bytes().await.expect("a body");
    assert_eq!(image::sha256(&body), digest.to_string());
    second.end();
}

/// A client tries again when a body breaks off.
async fn eventually_right(job: &Job<'_>, path: &str, digest: &str) {
    for _ in 0..3 {
        match job.hubcap.get(path).await.bytes().await {
            Ok(bytes) => return assert_eq!(image::sha256(&bytes), digest),
            Err(_) => continue,
        }
    }
    panic!("it never came: {}", job.hubcap.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_costs_one_sentence_and_the_job_goes_on() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let image = image::put(&origin, "library/a:1", &[&noise(300_000, 8)]);
    let (refused, denied) = ("the job's token is not for that", "nothing is read from the Actions cache: ");
    for (scopes, sentence, trouble) in
        [(&[(MAIN, READ)], refused, None), (&[(MAIN, 0)], refused, Some(format!("{denied}{refused}")))]
    {
        let job = Job::start_with(&origin, &cache, &["key"], &ActionsCache::token(scopes));
        job.pull("a", &image).await;
        assert_eq!(job.trouble(), trouble);
        let said = job.end();
        assert!(said.contains("nothing is saved for later jobs") && said.contains(sentence), "{said}");
    }
    cache.refuse("GetCacheEntryDownloadURL", 1, 60);
    let job = Job::start(&origin, &cache);
    cache.refuse("CreateCacheEntry", 100, 3600);
    job.pull("a", &image).await;
    let limited = "the Actions cache's limit of look-ups is reached; it asks to wait 60 s";
    assert_eq!(job.trouble().as_deref(), Some(limited));
    let said = job.end();
    assert!(said.contains("nothing is saved for later jobs"), "{said}");
    assert_eq!(cache.saved(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_killed_hurts_no_later_one() {
    let (origin, cache) = (Origin::start().await, ActionsCache::start());
    let layer = noise(LARGE, 9);
    let image = image::put(&origin, "library/a:1", &[&layer]);
    cache.take(Duration::from_millis(300));
    let killed = Job::start(&origin, &cache);
    killed.pull("a", &image).await;
    eventually("it has reserved its entry", || cache.asked_to_save() > 0).await;
    killed.hubcap.signal(rustix::process::Signal::KILL);
    drop(killed);
    cache.take(Duration::ZERO);
    let second = Job::start(&origin, &cache);
    second.pull("a", &image).await;
    let said = second.end();
    assert!(said.contains("saved key@"), "{said}");
    let third = Job::start(&origin, &cache);
    origin.quirk("/blobs/", quirk::status(503));
    third.pull("a", &image).await;
    third.end();
}
