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
use crate::body::{self, BlobBody};
use crate::byteranges::RangesBody;
use crate::coding::Codings;
use crate::error::Error;
use crate::fetch::limit::ConnectionLimit;
use crate::fetch::pace;
use crate::fetch::source::{Next, Source};
use crate::request::{range, several};
use crate::shortcut::Shortcut;

/// A blob that is to be fetched. All clones are at the same origin.
#[derive(Debug, Clone)]
pub struct RegistryBlob {
    upstream: Upstream,
    endpoint: Endpoint,
    digest: Digest,
    way: Arc<Way>,
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
        let count = 1 + upstream.others.len();
        let way = Way {
            route: Mutex::new(Route::new(count)),
            permission: Mutex::new(Permission::Asked),
            brought: (0..count).map(|_| AtomicU64::default()).collect(),
            forms: (0..count).map(|_| OnceLock::new()).collect(),
        };
        Self { upstream, endpoint, digest: *digest, way: Arc::new(way) }
    }

    /// Says which of the other origins may give the blob while the ones before them are in trouble.
    pub async fn allow(&self, others: Others, permission: Permission) {
        let allowed = self.upstream.allowed(others).await;
        *self.way.permission.lock().unwrap_or_else(PoisonError::into_inner) = permission;
        let mut route = self.route();
        route.allow(&allowed);
        for origin in 0..=allowed.len() {
            if self.at(origin).origin.was_wrong(&self.digest) {
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
            self.at(origin).ranges().did_not_help(Instant::now());
        }
        let mut senders: Vec<usize> = (0..self.way.brought.len()).filter(sent).collect();
        if senders.is_empty() {
            // Nothing at all is wrong as well.
            senders.push(self.origin());
        }
        for origin in senders.iter().filter(|origin| **origin > 0 || senders.len() == 1) {
            let origin = &self.at(*origin).origin;
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
        let at = self.at(self.origin());
        let shortcut = if ranges.len() > 1 { &at.origin.several_ranges } else { &at.origin.ranges };
        if !shortcut.may_help(Instant::now()) {
            return Err(Error::no_range("the origin gave no such ranges lately"));
        }
        let busy = || Error::unavailable("all connections for parts are in use");
        let permits = at.limit().try_acquire().ok_or_else(busy)?;
        let asked = at.ask_uncounted(Method::GET, &self.endpoint, several(ranges)).await;
        let body = asked.and_then(|response| RangesBody::new(response, ranges.iter().copied(), permits));
        if body.as_ref().is_err_and(Error::is_of_range) {
            shortcut.did_not_help(Instant::now());
        }
        body
    }

    /// The registry as it is at one origin.
    fn at(&self, origin: usize) -> &Upstream {
        match origin.checked_sub(1).and_then(|other| self.upstream.others.get(other)) {
            Some(other) => other,
            None => &self.upstream,
        }
    }

    /// The whole from its start on, unpacked where it is packed.
    async fn open_whole(&self, origin: usize) -> Result<BlobBody, Error> {
        let get = async || self.at(origin).ask(Method::GET, &self.endpoint, HeaderMap::new()).await;
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
        self.route().present()
    }

    fn leave(&self, origin: usize, why: &Error) -> Next {
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
                "{} is left for {}: {why}", self.at(origin).origin, self.at(present).origin);
        }
        next
    }

    fn has_others(&self) -> bool {
        self.upstream.has_others()
    }

    fn is_too_slow(&self, origin: usize, rate: Option<f64>, left: Option<u64>) -> bool {
        let route = self.route();
        // A connection that is still open to an origin that was left is compared with the present one.
        let next = if origin == route.present() { route.next() } else { Some(route.present()) };
        let speed = |origin: usize| self.at(origin).origin.speed.rate();
        route.is_given_up(origin)
            || rate.zip(next).is_some_and(|(rate, next)| pace::crawls(rate, speed(next), left))
    }

    fn count(&self, origin: usize, bytes: u64) -> u64 {
        self.way.brought[origin].fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn measured(&self, origin: usize, bytes: u64, took: Duration) {
        self.at(origin).origin.speed.note(bytes, took);
    }

    fn limit(&self) -> &ConnectionLimit {
        self.at(self.origin()).limit()
    }

    fn ranges(&self) -> &Shortcut {
        self.at(self.origin()).ranges()
    }

    async fn open(&self, offset: u64) -> Result<BlobBody, Error> {
        let origin = self.origin();
        if offset == 0 {
            return Ok(self.open_whole(origin).await?.of(origin));
        }
        let response = self.at(origin).ask(Method::GET, &self.endpoint, range(offset, None)).await?;
        Ok(BlobBody::ranged(response, &(offset..u64::MAX))?.of(origin))
    }

    /// What the registry says against one connection more than needed does not count for its circuit.
    async fn open_part(&self, part: Range<u64>) -> Result<BlobBody, Error> {
        let headers = range(part.start, Some(part.end));
        let origin = self.origin();
        let response = self.at(origin).ask_uncounted(Method::GET, &self.endpoint, headers).await?;
        Ok(body::part_of(response, &part)?.of(origin))
    }
}
