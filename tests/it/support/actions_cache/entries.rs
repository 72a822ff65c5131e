//! What the played service has, and how it goes on.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::azurite::Account;
use super::{Asked, Reads};

/// How long a URL may be read from, or written to.
const READ_LIFE: Duration = Duration::from_secs(600);
const WRITE_LIFE: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Calls a minute, of all jobs of the repository.
const LIMITS: [(&str, usize); 2] = [("CreateCacheEntry", 200), ("GetCacheEntryDownloadURL", 1500)];

pub(super) struct State {
    pub(super) url: String,
    pub(super) azurite: Option<Account>,
    /// In the order of their creation.
    pub(super) entries: Vec<Entry>,
    pub(super) log: Vec<Asked>,
    pub(super) latency: Duration,
    /// Of a long block, beside that.
    pub(super) block_latency: Duration,
    pub(super) quota: u64,
    /// Whether nothing is taken any more.
    pub(super) is_full: bool,
    /// How much the clock is ahead of the real one.
    pub(super) advanced: Duration,
    /// How many of the next URLs of a real blob store have run out already.
    pub(super) run_out: usize,
    /// By method: how many calls are refused, and for how long.
    pub(super) refusals: HashMap<String, (usize, u64)>,
    /// By method: how many calls are answered so whatever they ask, with which status and words.
    pub(super) said: HashMap<String, (usize, u16, String)>,
    /// By method: how many answers are lost.
    pub(super) lost: HashMap<String, usize>,
    /// Whether no answer goes out now.
    pub(super) is_held: bool,
    pub(super) reads: Reads,
    pub(super) cuts: VecDeque<u64>,
    /// Bytes a second and connection.
    pub(super) rate: Option<u64>,
    pub(super) failures: VecDeque<u16>,
    started: Instant,
    /// When a method was called.
    calls: Vec<(String, Duration)>,
    /// By signature.
    signed: HashMap<String, Signed>,
    /// Counts entries and uses.
    counter: u64,
}

pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) scope: String,
    pub(super) key: String,
    pub(super) version: String,
    pub(super) is_saved: bool,
    /// Once they were put together.
    pub(super) bytes: Option<Bytes>,
    pub(super) size: u64,
    /// By their names, before that.
    pub(super) blocks: HashMap<String, Bytes>,
    last_use: u64,
}

/// What a signature is good for.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) entry: u64,
    pub(super) is_for_writing: bool,
    until: Duration,
}

impl Entry {
    pub(super) fn new(scope: &str, key: &str, version: &str) -> Self {
        let (scope, key, version) = (scope.into(), key.into(), version.into());
        let (blocks, bytes) = (HashMap::new(), None);
        Self { id: 0, scope, key, version, is_saved: false, bytes, size: 0, blocks, last_use: 0 }
    }

    pub(super) fn is(&self, scope: &str, key: &str, version: &str) -> bool {
        self.scope == scope && self.key == key && self.version == version
    }
}

impl State {
    pub(super) fn new(url: String, azurite: Option<Account>) -> Self {
        Self {
            url,
            azurite,
            entries: Vec::new(),
            log: Vec::new(),
            latency: Duration::ZERO,
            block_latency: Duration::ZERO,
            quota: 10 << 30,
            is_full: false,
            advanced: Duration::ZERO,
            run_out: 0,
            refusals: HashMap::new(),
            said: HashMap::new(),
            lost: HashMap::new(),
            is_held: false,
            reads: Reads::Right,
            cuts: VecDeque::new(),
            rate: None,
            failures: VecDeque::new(),
            started: Instant::now(),
            calls: Vec::new(),
            signed: HashMap::new(),
            counter: 0,
        }
    }

    /// Counts a call. Returns the Retry-After when it is one too many.
    pub(super) fn call(&mut self, method: &str) -> Option<u64> {
        if let Some((left, retry_after)) = self.refusals.get_mut(method).filter(|(left, _)| *left > 0) {
            *left -= 1;
            return Some(*retry_after);
        }
        let now = self.now();
        let lately = |(called, at): &&(String, Duration)| called == method && *at + MINUTE > now;
        let oldest = self.calls.iter().find(lately).map(|(_, at)| *at);
        let count = self.calls.iter().filter(lately).count();
        if LIMITS.iter().any(|(limited, calls)| *limited == method && count >= *calls) {
            return oldest.map(|at| (at + MINUTE - now).as_secs() + 1);
        }
        self.calls.push((method.into(), now));
        None
    }

    /// What a call is answered whatever it asks.
    pub(super) fn say(&mut self, method: &str) -> Option<(u16, String)> {
        let (left, status, words) = self.said.get_mut(method).filter(|(left, ..)| *left > 0)?;
        *left -= 1;
        Some((*status, words.clone()))
    }

    /// Whether the answer to this call is lost.
    pub(super) fn loses(&mut self, method: &str) -> bool {
        let left = self.lost.get_mut(method).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// Adds an entry; with bytes it is complete.
    pub(super) fn put(&mut self, mut entry: Entry, bytes: Option<Bytes>) -> u64 {
        self.counter += 1;
        entry.id = self.counter;
        entry.last_use = self.counter;
        entry.is_saved = bytes.is_some();
        entry.size = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        entry.bytes = bytes;
        self.entries.push(entry);
        self.counter
    }

    /// The newest saved entry of the first scope that has one: by its key, then by the beginning of one.
    pub(super) fn find(&mut self, scopes: &[String], keys: &[&str], version: &str) -> Option<&Entry> {
        let matches =
            |entry: &Entry, scope: &str| entry.is_saved && entry.scope == scope && entry.version == version;
        let newest = |scope: &str, wanted: &dyn Fn(&str) -> bool| {
            self.entries.iter().rposition(|entry| matches(entry, scope) && wanted(&entry.key))
        };
        let found = scopes.iter().find_map(|scope| {
            let exact = newest(scope, &|key| Some(&key) == keys.first());
            exact.or_else(|| keys.iter().find_map(|prefix| newest(scope, &|key| key.starts_with(prefix))))
        })?;
        self.counter += 1;
        self.entries[found].last_use = self.counter;
        Some(&self.entries[found])
    }

    /// Makes an entry one that is found, and evicts what is then too much.
    pub(super) fn save(&mut self, id: u64, size: u64) {
        let entry = self.entry(id).expect("an entry");
        (entry.is_saved, entry.size) = (true, size);
        while self.entries.iter().map(|entry| entry.size).sum::<u64>() > self.quota {
            let saved = self.entries.iter().filter(|entry| entry.is_saved && entry.id != id);
            let Some(oldest) = saved.min_by_key(|entry| entry.last_use).map(|entry| entry.id) else { break };
            self.entries.retain(|entry| entry.id != oldest);
        }
    }

    pub(super) fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// A URL that is good for a while.
    pub(super) fn sign(&mut self, entry: u64, is_for_writing: bool) -> String {
        let life = if is_for_writing { WRITE_LIFE } else { READ_LIFE };
        if let Some(account) = &self.azurite {
            // The blob store's own clock is the real one.
            let life = if self.run_out > 0 { Duration::ZERO } else { life };
            self.run_out = self.run_out.saturating_sub(1);
            return account.sign(&format!("entry-{entry}"), is_for_writing, life);
        }
        self.counter += 1;
        let signature = format!("s3cret-{}", self.counter);
        let signed = Signed { entry, is_for_writing, until: self.now() + life };
        self.signed.insert(signature.clone(), signed);
        let right = if is_for_writing { "cw" } else { "r" };
        format!("{}/entries/{entry}?sp={right}&sig={signature}", self.url)
    }

    /// What a signature is good for, unless it has run out.
    pub(super) fn signed(&self, signature: &str) -> Option<Signed> {
        self.signed.get(signature).filter(|signed| signed.until > self.now()).cloned()
    }

    fn now(&self) -> Duration {
        self.started.elapsed() + self.advanced
    }
}
