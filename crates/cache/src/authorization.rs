//! Who may have what is private: only those to whom the upstream gives it.
//!
//! A repository is private when its registry refuses it to a client without a login. That is found out when something
//! of it first comes in by a login, with one HEAD that carries none, and it is kept with the store. What is private is
//! given out only to who was granted it by the upstream a short while ago.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Reference, Target};
use hubcap_upstream::{Secret, Upstream};

use crate::cache::Cache;
use crate::lock::lock;
use crate::on_disk::on_disk;

/// How long a grant is good without asking again.
const GRANT: Duration = Duration::from_secs(300);
/// How long it is good while the upstream cannot be asked.
const GRACE: Duration = Duration::from_secs(3600);
/// Grants that are remembered at most.
const MAX_GRANTS: usize = 10_000;

/// A repository, and who wants to see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// The repository.
    pub target: Target,
    /// Who asks.
    pub caller: Caller,
}

impl Access {
    /// A client that sent no Authorization.
    pub const fn anonymous(target: Target) -> Self {
        Self { target, caller: Caller(None) }
    }
}

/// Who asks: somebody with an Authorization of their own, or anybody, who gets what hubcap itself may have.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Caller(Option<Secret>);

impl Caller {
    /// From the value of a request's Authorization, if it has one.
    pub fn new(authorization: Option<&str>) -> Self {
        Self(authorization.map(Secret::new))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a client with a login" } else { "anybody" })
    }
}

/// What was given.
pub(crate) enum Noun<'a> {
    Manifest(&'a Reference),
    Blob(&'a Digest),
}

/// Whether stored content may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// At once: it is public, or was granted a short while ago.
    Free,
    /// Only while the upstream cannot be asked: it was granted a while ago.
    Lapsed,
    /// Only after the upstream has said so.
    Ask,
}

/// What this process has learned of private repositories.
#[derive(Default)]
pub(crate) struct Grants {
    granted: Mutex<HashMap<Access, Instant>>,
    /// Repositories that anybody may have.
    public: Mutex<HashSet<Target>>,
}

impl Cache {
    /// The registry, as this caller may ask it.
    pub(crate) fn as_caller(&self, upstream: &Upstream, access: &Access) -> Upstream {
        match &access.caller.0 {
            Some(authorization) => upstream.for_client(authorization.clone()),
            None => upstream.clone(),
        }
    }

    /// Whether what is stored of a repository may be given to this caller.
    pub(crate) fn admission(&self, access: &Access) -> Admission {
        if !self.store().is_private(&access.target) {
            return Admission::Free;
        }
        match lock(&self.0.grants.granted).get(access).map(Instant::elapsed) {
            Some(age) if age < GRANT => Admission::Free,
            Some(age) if age < GRACE => Admission::Lapsed,
            _ => Admission::Ask,
        }
    }

    /// The upstream has just given something of this repository to this caller.
    pub(crate) fn granted(&self, access: &Access) {
        if !self.store().is_private(&access.target) {
            return;
        }
        let mut granted = lock(&self.0.grants.granted);
        if granted.len() >= MAX_GRANTS {
            granted.retain(|_, at| at.elapsed() < GRANT);
        }
        if granted.len() < MAX_GRANTS {
            granted.insert(access.clone(), Instant::now());
        }
    }

    /// Finds out whether anybody may have what `upstream` has just given to this caller. Must be done before it is
    /// linked, or others could have it in between.
    pub(crate) async fn classify(&self, upstream: &Upstream, access: &Access, what: &Noun<'_>) {
        let target = &access.target;
        let known = lock(&self.0.grants.public).contains(target) || self.store().is_private(target);
        if !known && upstream.is_privileged().await {
            let (anybody, repository) = (upstream.for_anybody(), &target.repository);
            let public = match what {
                Noun::Manifest(reference) => anybody.head_manifest(repository, reference).await.is_ok(),
                Noun::Blob(digest) => anybody.head_blob(repository, digest).await.is_ok(),
            };
            self.note(target, public).await;
        }
        self.granted(access);
    }

    /// What could not be found out counts as private. A disk that does not take the mark takes nothing of the repository
    /// either, and the mark is in memory: it does not cost the client its answer.
    async fn note(&self, target: &Target, public: bool) {
        if public {
            lock(&self.0.grants.public).insert(target.clone());
            return;
        }
        tracing::debug!(target: "hubcap::cache", upstream = %target, "the repository is private");
        let (store, target) = (self.store().clone(), target.clone());
        if let Err(error) = on_disk(move || store.mark_private(&target)).await {
            self.store_takes_nothing(&error);
        }
    }
}
