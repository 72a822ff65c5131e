//! Many clients, mixed images, too small a store, a bad network and a registry that drips, for a while. `tests/soak` makes it longer and
//! shows what was counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::task::JoinHandle;

use crate::support::hubcap::{Hubcap, Place, blob, manifest, run};
use crate::support::image::{self, Image, sha256};
use crate::support::origin::{Origin, Parts, Quirk, quirk};
use crate::support::{eventually, noise};

const CLIENTS: u64 = 64;
/// Of these so many ask the registry that drips.
const OF_DRIPS: u64 = 8;
/// Bytes per second of each of its connections.
const DRIP: usize = 16 << 10;
/// Its clients wait no longer for a body.
const PATIENCE: Duration = Duration::from_secs(5);
const IMAGES: u64 = 16;
const BUDGET: u64 = 16 << 20;
/// At work each client has a connection, the file it reads, and at most a fetch with a connection and a file of its own.
const FILES_AT_WORK: usize = 4 * CLIENTS as usize;
/// After the work: a few connections to the origins that are kept for the next request.
const FILES_LEFT: usize = 16;

/// What the clients of one registry got.
#[derive(Default)]
struct Count {
    whole: AtomicU64,
    bytes: AtomicU64,
    wrong: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
}

impl Count {
    /// Asks for one content; a whole body must be what its name says.
    async fn get(&self, client: &Client, url: &str, digest: &str) {
        let Ok(answer) = client.get(url).send().await else { return add(&self.cut, 1) };
        if !answer.status().is_success() {
            return add(&self.refused, 1);
        }
        match answer.bytes().await {
            Ok(body) if sha256(&body) == digest => {
                add(&self.whole, 1);
                add(&self.bytes, body.len() as u64);
            }
            Ok(_) => add(&self.wrong, 1),
            Err(_) => add(&self.cut, 1),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [whole, bytes, wrong, refused, cut] =
            [&self.whole, &self.bytes, &self.wrong, &self.refused, &self.cut].map(number);
        write!(
            f,
            "{whole} whole bodies ({} MB), {wrong} wrong, {refused} refused, {cut} cut",
            bytes / 1_000_000
        )
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn number(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What hubcap uses at one moment, or at most in some time.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    memory_kib: u64,
    threads: u64,
    files: usize,
}

impl Use {
    fn of(hubcap: &Hubcap) -> Self {
        Self { memory_kib: hubcap.memory_kib(), threads: hubcap.threads(), files: hubcap.open_files() }
    }

    fn most(samples: &[Self]) -> Self {
        samples.iter().fold(Self::default(), |most, one| Self {
            memory_kib: most.memory_kib.max(one.memory_kib),
            threads: most.threads.max(one.threads),
            files: most.files.max(one.files),
        })
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, threads, files } = self;
        write!(f, "{} MiB, {threads} threads, {files} open files", memory_kib >> 10)
    }
}

/// A registry's images and its clients.
struct Clients {
    count: Arc<Count>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `count` clients pull images of `prefix`, some more often than others, until `stop`.
    fn start(
        numbers: std::ops::Range<u64>,
        url: &str,
        images: Vec<(String, Image)>,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let (count, images) = (Arc::new(Count::default()), Arc::new(images));
        let tasks = numbers.map(|n| {
            let (count, stop, images) = (Arc::clone(&count), Arc::clone(stop), Arc::clone(&images));
            let client = Client::builder().no_proxy().timeout(Duration::from_secs(60));
            let (client, url) = (client.build().expect("a client"), url.to_owned());
            tokio::spawn(async move {
                let mut turn = n;
                while !stop.load(Ordering::Relaxed) {
                    turn =
                        turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let at = ((turn >> 33) % IMAGES).min((turn >> 40) % IMAGES) as usize;
                    let (name, image) = &images[at];
                    let manifest = format!("{url}{}", manifest(name, "1"));
                    count.get(&client, &manifest, &image.digest).await;
                    for digest in &image.blobs {
                        let fetch = format!("{url}{}", blob(name, digest));
                        let got = count.get(&client, &fetch, digest);
                        if name.starts_with("drip.test/") {
                            if tokio::time::timeout(PATIENCE, got).await.is_err() {
                                add(&count.cut, 1);
                            }
                        } else {
                            got.await;
                        }
                    }
                }
            })
        });
        Self { tasks: tasks.collect(), count }
    }

    async fn end(self) -> Arc<Count> {
        for task in self.tasks {
            task.await.expect("it ends");
        }
        self.count
    }
}

fn images(origin: &Origin, prefix: &str, step: u64) -> Vec<(String, Image)> {
    let base = noise(1 << 20, 999);
    let image = |n: u64| {
        let own = noise((100_000 + step * n) as usize, step + n);
        let image =
            image::put(origin, &format!("library/x{n}:1"), &[&base, &own, &noise(3000, step + 100 + n)]);
        (format!("{prefix}library/x{n}"), image)
    };
    (0..IMAGES).map(image).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_on_a_small_store_and_a_bad_network_get_nothing_wrong_and_nothing_grows() {
    let seconds = std::env::var("HUBCAP_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let (origin, drip, place) = (Origin::start().await, Origin::start().await, Place::new());
    let (many, few) = (images(&origin, "", 200_000), images(&drip, "drip.test/", 20_000));
    drip.quirk("blobs", quirk::throttle(DRIP, Parts::Given));
    let (budget, dripping) = (BUDGET.to_string(), format!("drip.test={}", drip.url()));
    let more =
        ["--max-size", &budget, "--tag-ttl", "1s", "--upstream-timeout", "500ms", "--upstream", &dripping];
    let hubcap = place.start(&origin.url(), &more);
    let idle = Use::of(&hubcap);
    let stop = Arc::new(AtomicBool::new(false));
    let others = Clients::start(0..CLIENTS - OF_DRIPS, &hubcap.http, many, &stop);
    let of_drip = Clients::start(CLIENTS - OF_DRIPS..CLIENTS, &hubcap.http, few, &stop);

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut samples = Vec::new();
    for (part, fault) in faults().into_iter().cycle() {
        origin.quirk(part, fault);
        tokio::time::sleep(Duration::from_millis(300)).await;
        origin.heal();
        for origin in [&origin, &drip] {
            origin.forget();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        samples.push(Use::of(&hubcap));
        if Instant::now() > end {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (others, of_drip) = (others.end().await, of_drip.end().await);
    // How many are open at one moment of the work says nothing of a leak; how many are left after it does.
    eventually("open files are closed after the work", || hubcap.open_files() < idle.files + FILES_LEFT)
        .await;
    let third = samples.len() / 3;
    let (early, late) = (Use::most(&samples[..third]), Use::most(&samples[2 * third..]));
    let evicted = hubcap.log().matches("least recently used").count();
    println!(
        "{seconds} s, {CLIENTS} clients, {OF_DRIPS} of them at a registry that drips\n\
         the others: {others}\n\
         at the one that drips: {of_drip}\n\
         idle: {idle}\nat most in the first third: {early}\nin the last third: {late}\nafter the work: {}\n\
         {evicted} contents removed to make room",
        Use::of(&hubcap)
    );
    assert_eq!(number(&others.wrong) + number(&of_drip.wrong), 0, "wrong bodies");
    assert!(number(&others.whole) > 1000, "{others}");
    assert!(number(&of_drip.whole) > 0, "{of_drip}");
    let is_constant = late.memory_kib < early.memory_kib * 3 / 2 && late.memory_kib < 128 << 10;
    assert!(is_constant, "memory grows: {early} {late}");
    assert!(late.files < idle.files + FILES_AT_WORK, "too many open files: {late}");
    assert!(late.threads <= early.threads + 16, "threads grow: {early} {late}");
    assert!(!hubcap.log().contains("panicked"), "a panic");
    assert!(evicted > 0, "nothing was evicted");
    assert_eq!(hubcap.stop(), Some(0));
    let blobs = place.blobs();
    let length = |digest: &String| {
        std::fs::metadata(place.store().join("blobs").join(digest.replace(':', "/"))).expect("a file").len()
    };
    let total: u64 = blobs.iter().map(length).sum();
    assert!(total <= BUDGET, "{total} bytes are kept");
    let verified = run(place.dir.path(), &["verify", "--store", place.store().to_str().expect("text")]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    println!(
        "kept: {} contents, {} MB; `hubcap verify` finds nothing damaged",
        blobs.len(),
        total / 1_000_000
    );
}

fn faults() -> [(&'static str, Quirk); 8] {
    [
        ("blobs", quirk::cut_once(50_000)),
        ("manifests", quirk::status(503)),
        ("x3", quirk::flip()),
        ("blobs", quirk::slow()),
        ("x5", quirk::cut_at(1000)),
        ("manifests", quirk::hang()),
        ("x1", quirk::status(429)),
        ("blobs", quirk::no_length()),
    ]
}
