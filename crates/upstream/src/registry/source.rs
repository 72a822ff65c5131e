//! A blob of a repository, as a source. It has as many origins as its registry.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use hubcap_oci::{ByteRange, Digest, Endpoint, Repository};

use super::packed::{self, Form};
use super::route::{Left, Route};
use super::{Others, Upstream};
use crate::actions_cache::CacheContent;
use crate::body::{self, BlobBody};
use crate::byteranges::RangesBody;
use crate::coding::Codings;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::pace;
use crate::fetch::source::{Next, Source};
use crate::ratelimit::RateLimit;
use crate::request::{range, several};
use crate::shortcut::Shortcut;
use crate::speed::Speed;

/// How long the registry may take to begin where the job's cache has the content as well.
const BEGIN: Duration = Duration::from_millis(1500);
/// How long the job's cache may take to begin, its look-up with it, where the registry can be asked instead.
const BEGIN_AT_CACHE: Duration = Duration::from_secs(3);
/// A content of so many bytes or more is worth connections to both.
const WORTH_BOTH: u64 = 16 << 20;
/// What the registry has within this time, in seconds, is not looked up in the cache: that takes 250 ms, and the service limits it.
const SOON: f64 = 0.5;

/// A blob that is to be fetched. All clones are at the same origin, but for the one that is [`beside`](Source::beside) them.
#[derive(Debug, Clone)]
pub struct RegistryBlob {
    upstream: Upstream,
    endpoint: Endpoint,
    digest: Digest,
    /// Where else it is: the last of the origins.
    cached: Option<CacheContent>,
    /// Whether this one asks the job's cache, wherever the others are.
    is_beside: bool,
    way: Arc<Way>,
}

/// A place that has the blob.
enum At<'a> {
    Registry(&'a Upstream),
    Cache(&'a CacheContent),
}

/// The first origin's permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It will be asked: if it says no, that is the answer.
    Asked,
    /// It has named this blob, in a manifest of the repository that it gave: where it does not have it, others may.
    Named,
    /// It has said yes to this blob: others may go on, whatever it says from now on.
    Given,
}

impl Permission {
    /// Whether others may give the blob although the first origin has just refused it so.
    pub const fn overrules(self, refusal: &Error) -> bool {
        match self {
            Self::Asked => false,
            // Refused for another reason, it may be private by now.
            Self::Named => matches!(refusal, Error::NotFound),
            Self::Given => true,
        }
    }
}

/// Where the blob comes from.
#[derive(Debug)]
struct Way {
    route: Mutex<Route>,
    permission: Mutex<Permission>,
    /// Bytes, by origin.
    brought: Box<[AtomicU64]>,
    /// Of bodies that are said to be packed, once that is found out; by origin.
    forms: Box<[OnceLock<Form>]>,
}

impl RegistryBlob {
    /// A blob that comes from the first origin alone.
    pub(super) fn new(upstream: Upstream, repository: &Repository, digest: &Digest) -> Self {
        let endpoint = Endpoint::Blob { repository: repository.clone(), digest: *digest };
        let way = Arc::new(Way::new(1 + upstream.others.len()));
        Self { upstream, endpoint, digest: *digest, cached: None, is_beside: false, way }
    }

    /// The same blob, which the job's cache has as well, and which anybody may have: the two are asked beside each other where
    /// the content is large, and one after the other where it is not.
    #[must_use]
    pub fn cached(self, content: CacheContent) -> Self {
        let last = 1 + self.upstream.others.len();
        let way = Way::new(last + 1);
        {
            let mut route = way.route.lock().unwrap_or_else(PoisonError::into_inner);
            route.open(last);
            let (registry, cache) = (self.upstream.origin.speed.rate(), content.speed().rate());
            let is_slower = registry.zip(cache).is_some_and(|(registry, cache)| cache < registry / 2.0);
            // A look-up that many contents share is made once.
            let is_near = content.is_found() || content.is_of_pack();
            let is_small = content.size() < WORTH_BOTH && is_near && !is_slower;
            let is_limited = self.upstream.rate_limit().is_some_and(RateLimit::is_near);
            if is_small || self.upstream.origin.is_away() || is_limited {
                route.prefer(last);
            }
        }
        Self { cached: Some(content), way: Arc::new(way), ..self }
    }

    /// Bytes of it that came from the job's cache so far.
    pub fn from_cache(&self) -> u64 {
        let last = self.cached.as_ref().and_then(|_| self.way.brought.last());
        last.map_or(0, |brought| brought.load(Ordering::Relaxed))
    }

    /// Says which of the other origins may give the blob while the ones before them are in trouble.
    pub async fn allow(&self, others: Others, permission: Permission) {
        let allowed = self.upstream.allowed(others).await;
        *self.way.permission.lock().unwrap_or_else(PoisonError::into_inner) = permission;
        let mut route = self.route();
        route.allow(&allowed);
        for (origin, upstream) in self.registries().enumerate() {
            if upstream.origin.was_wrong(&self.digest) {
                route.avoid(origin);
            }
        }
    }

    /// Whether the first origin is the one that is asked.
    pub fn is_at_first(&self) -> bool {
        self.route().present() == 0
    }

    /// Leaves the first origin, which has failed; false when no other one may be asked.
    pub fn leave_first(&self) -> bool {
        self.route().leave(0, Left::Trouble) == Next::Fresh
    }

    /// Notes that the whole of what came was something else, so that the next fetch goes past who sent it. Of several, the
    /// first is the last to be suspected.
    pub fn note_wrong(&self) {
        let sent = |origin: &usize| self.way.brought[*origin].load(Ordering::Relaxed) > 0;
        // Ranges may be to blame. Of a single origin the bytes are not counted.
        for origin in (0..self.way.brought.len()).filter(|origin| !self.has_others() || sent(origin)) {
            self.ranges_of(origin).did_not_help(Instant::now());
        }
        let mut senders: Vec<usize> = (0..self.way.brought.len()).filter(sent).collect();
        if senders.is_empty() {
            // Nothing at all is wrong as well.
            senders.push(self.origin());
        }
        for origin in senders.iter().filter(|origin| **origin > 0 || senders.len() == 1) {
            let origin = match self.at(*origin) {
                At::Registry(upstream) => &upstream.origin,
                At::Cache(content) => {
                    tracing::warn!(target: "hubcap::upstream", digest = %self.digest,
                        "the Actions cache has other bytes than those of this digest; it is not asked for them again");
                    content.note_wrong();
                    continue;
                }
            };
            tracing::warn!(target: "hubcap::upstream", %origin, digest = %self.digest,
                "it sent other bytes than those of this digest; the other origins are asked before it");
            origin.note_wrong(&self.digest);
        }
    }

    /// Some ranges of it, over a connection that is one more than needed: no circuit hears of it.
    ///
    /// # Errors
    /// [`Error`], when the origin does not give exactly these, or has enough connections.
    pub async fn ranges(&self, ranges: &[ByteRange]) -> Result<RangesBody, Error> {
        let At::Registry(at) = self.at(self.origin()) else {
            return Err(Error::no_range("the registry is not asked for it now"));
        };
        let shortcut = if ranges.len() > 1 { &at.origin.several_ranges } else { &at.origin.ranges };
        if !shortcut.may_help(Instant::now()) {
            return Err(Error::no_range("the origin gave no such ranges lately"));
        }
        let busy = || Error::unavailable("all connections for parts are in use");
        let permits = at.limit().try_acquire().ok_or_else(busy)?;
        let asked = at.ask_uncounted(Method::GET, &self.endpoint, several(ranges)).await;
        let body = asked
            .map_err(Error::from)
            .and_then(|response| RangesBody::new(response, ranges.iter().copied(), permits));
        if body.as_ref().is_err_and(Error::is_of_range) {
            shortcut.did_not_help(Instant::now());
        }
        body
    }

    /// The registry as it is at each of its origins.
    fn registries(&self) -> impl Iterator<Item = &Upstream> {
        std::iter::once(&self.upstream).chain(self.upstream.others.iter())
    }

    fn at(&self, origin: usize) -> At<'_> {
        match (self.registries().nth(origin), &self.cached) {
            (None, Some(content)) => At::Cache(content),
            (upstream, _) => At::Registry(upstream.unwrap_or(&self.upstream)),
        }
    }

    fn speed_of(&self, origin: usize) -> &Speed {
        match self.at(origin) {
            At::Registry(upstream) => &upstream.origin.speed,
            At::Cache(content) => content.speed(),
        }
    }

    fn ranges_of(&self, origin: usize) -> &Shortcut {
        match self.at(origin) {
            At::Registry(upstream) => upstream.ranges(),
            At::Cache(content) => content.ranges(),
        }
    }

    /// Ends when the registry had its time to begin, and the job's cache has the content.
    async fn is_late(&self) {
        tokio::time::sleep(BEGIN).await;
        match &self.cached {
            Some(content) if content.is_there().await => {}
            _ => std::future::pending().await,
        }
    }

    /// The content as the job's cache has it, unless that does not begin in time while a registry can be asked.
    async fn open_cached(&self, content: &CacheContent, offset: u64) -> Result<BlobBody, Error> {
        let next = Some(self.route().next()).filter(|_| !self.is_beside).flatten();
        let may_ask = |next| matches!(self.at(next), At::Registry(upstream) if !upstream.origin.is_away());
        if !next.is_some_and(may_ask) {
            return content.open(offset).await;
        }
        tokio::time::timeout(BEGIN_AT_CACHE, content.open(offset)).await.unwrap_or_else(|_| {
            content.note_late();
            Err(Error::Crawls)
        })
    }

    /// The whole from its start on, unpacked where it is packed.
    async fn open_whole(&self, origin: usize, upstream: &Upstream) -> Result<BlobBody, Error> {
        let get = async || upstream.ask(Method::GET, &self.endpoint, HeaderMap::new()).await;
        let response = get().await?;
        let nothing = || Digest::of(self.digest.algorithm(), b"");
        if body::content_length(&response) == Some(0) && nothing() != self.digest {
            // At once: of an answer without bytes none could be held back.
            return Err(Error::invalid("an empty body came"));
        }
        let codings = Codings::read(response.headers());
        if codings.is_none() {
            return Ok(BlobBody::whole(response));
        }
        let known = &self.way.forms[origin];
        let seen = || packed::form(&codings);
        if let Some(form) = known.get().copied().or_else(seen) {
            return Ok(form.read(response));
        }
        let found = packed::find_out(BlobBody::whole(response), codings, &self.digest).await?;
        let form = known.get_or_init(|| found);
        Ok(form.read(get().await?))
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.way.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// A way that begins at the first of `count` places, and may not leave it.
    fn new(count: usize) -> Self {
        Self {
            route: Mutex::new(Route::new(count)),
            permission: Mutex::new(Permission::Asked),
            brought: (0..count).map(|_| AtomicU64::default()).collect(),
            forms: (0..count).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(upstream) => upstream.origin.fmt(f),
            Self::Cache(_) => f.write_str("the Actions cache"),
        }
    }
}

impl fmt::Display for RegistryBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.upstream.registry(), self.endpoint.path())
    }
}

impl Source for RegistryBlob {
    fn digest(&self) -> Option<Digest> {
        Some(self.digest)
    }

    fn origin(&self) -> usize {
        if self.is_beside { self.way.brought.len() - 1 } else { self.route().present() }
    }

    fn leave(&self, origin: usize, why: &Error) -> Next {
        if self.is_beside {
            return Next::Same;
        }
        let left = match why {
            Error::Crawls => Left::Crawls,
            error if error.is_trouble() => Left::Trouble,
            _ => Left::Refuses,
        };
        let permission = *self.way.permission.lock().unwrap_or_else(PoisonError::into_inner);
        if origin == 0 && left == Left::Refuses && !permission.overrules(why) {
            return Next::Same;
        }
        let (next, present) = {
            let mut route = self.route();
            let is_left_now = route.present() == origin;
            (route.leave(origin, left), Some(route.present()).filter(|_| is_left_now))
        };
        if let Some(present) = present.filter(|_| next != Next::Same) {
            tracing::warn!(target: "hubcap::fetch", source = %self,
                "{} is left for {}: {why}", self.at(origin), self.at(present));
        }
        next
    }

    fn has_others(&self) -> bool {
        self.upstream.has_others() || self.cached.is_some()
    }

    fn beside(&self) -> Option<Self> {
        let content = self.cached.as_ref().filter(|content| content.size() >= WORTH_BOTH)?;
        let At::Registry(upstream) = self.at(self.origin()) else { return None };
        // Bytes of a content are far from f64's limits.
        let is_soon_here = |rate: f64| content.size() as f64 <= rate * SOON;
        let is_looked_up = content.is_found() || !upstream.origin.speed.rate().is_some_and(is_soon_here);
        is_looked_up.then(|| Self { is_beside: true, ..self.clone() })
    }

    fn is_too_slow(&self, origin: usize, rate: Option<f64>, left: Option<u64>) -> bool {
        if self.is_beside {
            // Others take what it does not bring.
            return false;
        }
        let route = self.route();
        // A connection that is still open to an origin that was left is compared with the present one.
        let next = if origin == route.present() { route.next() } else { Some(route.present()) };
        let speed = |origin: usize| self.speed_of(origin).rate();
        route.is_given_up(origin)
            || rate.zip(next).is_some_and(|(rate, next)| pace::crawls(rate, speed(next), left))
    }

    fn count(&self, origin: usize, bytes: u64) -> u64 {
        self.way.brought[origin].fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn measured(&self, origin: usize, bytes: u64, took: Duration) {
        self.speed_of(origin).note(bytes, took);
    }

    fn limit(&self) -> &ConnectionLimit {
        match self.at(self.origin()) {
            At::Registry(upstream) => upstream.limit(),
            At::Cache(content) => content.limit(),
        }
    }

    fn ranges(&self) -> &Shortcut {
        self.ranges_of(self.origin())
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let origin = self.origin();
        let body = match self.at(origin) {
            At::Cache(content) => self.open_cached(content, offset).await?,
            At::Registry(upstream) if offset == 0 => {
                tokio::select! {
                    biased;
                    opened = self.open_whole(origin, upstream) => opened?,
                    () = self.is_late() => return Err(Error::Crawls),
                }
            }
            At::Registry(upstream) => {
                let response = upstream.ask(Method::GET, &self.endpoint, range(offset, None)).await?;
                BlobBody::ranged(response, &(offset..u64::MAX))?
            }
        };
        Ok(body.of(origin))
    }

    /// What the registry says against one connection more than needed does not count for its circuit.
    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        let origin = self.origin();
        let body = match self.at(origin) {
            At::Cache(content) => content.open_part(part).await?,
            At::Registry(upstream) => {
                let headers = range(part.start, Some(part.end));
                let response = upstream.ask_uncounted(Method::GET, &self.endpoint, headers).await?;
                body::part_of(response, &part)?
            }
        };
        Ok(body.of(origin))
    }
}

#[cfg(test)]
mod tests;
