//! What clients asked for, one request after the other with its times: behind the timeline of a job's summary, and what a
//! plain pull would have taken.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hubcap_oci::{Digest, Target};
use serde::{Deserialize, Serialize};

use crate::lock::lock;

/// Requests that are remembered; of more, the oldest are forgotten.
const MAX_REQUESTS: usize = 2048;
/// Blobs of which something is remembered; nothing is of more.
const MAX_BLOBS: usize = 4096;

/// A request of a client, for a manifest or a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientRequest {
    /// `registry/repository`
    pub repository: String,
    /// The blob; `None` for a manifest.
    pub blob: Option<Digest>,
    /// The blob's place among those of its image, where an image's manifest named it.
    pub place: Option<u32>,
    /// When it came, in milliseconds since the epoch.
    pub came: u64,
    /// When the first byte was there for the client, as above.
    pub began: u64,
    /// When the client's connection had taken the last byte, as above.
    pub ended: u64,
    /// How long bytes were there and the client took none, in milliseconds.
    pub blocked: u64,
    /// Bytes that the client got.
    pub bytes: u64,
    /// Of these, what came from the registry while the client waited.
    pub registry: u64,
    /// Of these, what came from the job's cache while the client waited.
    pub cache: u64,
    /// Milliseconds of processor time that the daemon had used until it ended, since its start.
    pub worked: u64,
}

/// The requests since the start, in the order in which they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestLog {
    /// The latest ones.
    pub requests: Vec<ClientRequest>,
    /// How many older ones are forgotten.
    pub forgotten: u64,
}

impl RequestLog {
    /// How many of the latest requests got their bytes without one from a registry.
    pub fn hits(&self) -> usize {
        self.requests.iter().filter(|request| request.bytes > 0 && request.registry == 0).count()
    }
}

/// How an answer's body went out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Its bytes.
    pub bytes: u64,
    /// When the first of them was there; `None` for no body.
    pub began: Option<Instant>,
    /// How long bytes were there and the client took none.
    pub blocked: Duration,
}

/// A request that has ended.
pub(super) struct Ended<'a> {
    pub(super) target: &'a Target,
    pub(super) blob: Option<Digest>,
    pub(super) came: Instant,
    /// Whether others had to be asked for it.
    pub(super) is_miss: bool,
    pub(super) sent: Sent,
}

/// Where the bytes of a fill came from.
#[derive(Debug, Clone, Copy, Default)]
struct Brought {
    registry: u64,
    cache: u64,
}

/// What is known of a blob.
#[derive(Default)]
struct About {
    brought: Brought,
    place: Option<u32>,
}

/// The recorder.
pub(super) struct Requests {
    /// The same moment on both clocks.
    start: (Instant, SystemTime),
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    log: VecDeque<Logged>,
    forgotten: u64,
    blobs: HashMap<Digest, About>,
}

struct Logged {
    request: ClientRequest,
    is_miss: bool,
}

impl Default for Requests {
    fn default() -> Self {
        Self { start: (Instant::now(), SystemTime::now()), inner: Mutex::default() }
    }
}

impl Requests {
    pub(super) fn ended(&self, Ended { target, blob, came, is_miss, sent }: Ended<'_>) {
        let now = Instant::now();
        let request = ClientRequest {
            repository: target.to_string(),
            blob,
            place: None,
            came: self.millis(came),
            began: self.millis(sent.began.unwrap_or(now)),
            ended: self.millis(now),
            // No request takes 2^64 milliseconds.
            blocked: sent.blocked.as_millis() as u64,
            bytes: sent.bytes,
            registry: 0,
            cache: 0,
            worked: processor_time(),
        };
        let inner = &mut *lock(&self.inner);
        if inner.log.len() >= MAX_REQUESTS {
            inner.log.pop_front();
            inner.forgotten += 1;
        }
        inner.log.push_back(Logged { request, is_miss });
    }

    /// Notes where a blob's bytes came from.
    pub(super) fn filled(&self, blob: &Digest, registry: u64, cache: u64) {
        lock(&self.inner).about(blob, |about| about.brought = Brought { registry, cache });
    }

    /// Notes an image's blobs, in the order of its manifest.
    pub(super) fn places<'a>(&self, blobs: impl Iterator<Item = &'a Digest>) {
        let mut inner = lock(&self.inner);
        for (place, blob) in (0..).zip(blobs) {
            inner.about(blob, |about| about.place = Some(place));
        }
    }

    pub(super) fn log(&self) -> RequestLog {
        let inner = lock(&self.inner);
        let requests = inner.log.iter().map(|logged| inner.complete(logged)).collect();
        RequestLog { requests, forgotten: inner.forgotten }
    }

    /// Milliseconds since the epoch.
    fn millis(&self, at: Instant) -> u64 {
        let (instant, clock) = self.start;
        let at = clock + at.saturating_duration_since(instant);
        // 2^64 milliseconds are longer than any clock's time.
        at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }
}

/// Milliseconds of processor time of this process, all its threads together.
fn processor_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // Neither is below zero.
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

impl Inner {
    fn about(&mut self, blob: &Digest, note: impl FnOnce(&mut About)) {
        if self.blobs.len() < MAX_BLOBS || self.blobs.contains_key(blob) {
            note(self.blobs.entry(*blob).or_default());
        }
    }

    /// The request with what is known of its blob. A fill may end after the request that it was begun for.
    fn complete(&self, Logged { request, is_miss }: &Logged) -> ClientRequest {
        let about = request.blob.and_then(|blob| self.blobs.get(&blob));
        let place = about.and_then(|about| about.place);
        let (registry, cache) = match about.map(|about| about.brought) {
            _ if !is_miss => (0, 0),
            Some(Brought { registry, cache }) if registry + cache > 0 => {
                // In proportion: a client may have asked for a part.
                let part = |of: u64| {
                    (u128::from(request.bytes) * u128::from(of) / u128::from(registry + cache)) as u64
                };
                (request.bytes - part(cache).min(request.bytes), part(cache))
            }
            _ => (request.bytes, 0),
        };
        ClientRequest { place, registry, cache, ..request.clone() }
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::{Algorithm, Registry};

    use super::*;

    fn target() -> Target {
        Target { registry: Registry::docker_hub(), repository: "library/x".parse().expect("a repository") }
    }

    fn request(requests: &Requests, blob: Digest, is_miss: bool) {
        let sent = Sent { bytes: 100, ..Sent::default() };
        let (target, came) = (target(), Instant::now());
        requests.ended(Ended { target: &target, blob: Some(blob), came, is_miss, sent });
    }

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn the_bytes_of_a_miss_are_those_of_its_fill() {
        let requests = Requests::default();
        request(&requests, digest("a"), true);
        requests.filled(&digest("a"), 300, 100);
        let log = requests.log();
        assert_eq!((log.requests[0].registry, log.requests[0].cache), (75, 25));
    }

    #[test]
    fn the_bytes_of_a_hit_came_from_the_store() {
        let requests = Requests::default();
        requests.filled(&digest("a"), 300, 100);
        request(&requests, digest("a"), false);
        assert_eq!((requests.log().requests[0].registry, requests.log().requests[0].cache), (0, 0));
    }

    #[test]
    fn the_processor_time_of_the_daemon_grows_with_its_work() {
        let requests = Requests::default();
        request(&requests, digest("a"), true);
        let end = Instant::now() + Duration::from_secs(20);
        let mut last = 0;
        while last < 20 {
            assert!(Instant::now() < end, "{last} ms of work in 20 s");
            request(&requests, digest("b"), true);
            let log = requests.log();
            last = log.requests[log.requests.len() - 1].worked - log.requests[0].worked;
        }
    }

    #[test]
    fn a_blob_has_its_place_in_the_image() {
        let requests = Requests::default();
        requests.places([digest("config"), digest("a")].iter());
        request(&requests, digest("a"), true);
        assert_eq!(requests.log().requests[0].place, Some(1));
    }

    #[test]
    fn the_memory_for_requests_is_bounded() {
        let requests = Requests::default();
        for _ in 0..MAX_REQUESTS + 3 {
            request(&requests, digest("a"), false);
        }
        let log = requests.log();
        assert_eq!((log.requests.len(), log.forgotten), (MAX_REQUESTS, 3));
    }

    #[test]
    fn the_memory_for_blobs_is_bounded() {
        let requests = Requests::default();
        for number in 0..MAX_BLOBS + 3 {
            requests.filled(&digest(&number.to_string()), 1, 0);
        }
        assert_eq!(lock(&requests.inner).blobs.len(), MAX_BLOBS);
    }
}
