//! The cache: what it is made of, and what concerns all of it. The nouns of the specification are in files of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Reference, Registry, Tag, Target};
use hubcap_store::Store;
use hubcap_upstream::{ReferrerList, Upstream, Upstreams};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::attestations::Attestations;
use crate::authorization::{Admission, Grants};
use crate::carry::carrier::Carrier;
use crate::error::{Error, Failure};
use crate::fill::Filler;
use crate::flight::Flights;
use crate::freshness::TagRules;
use crate::latest::Latest;
use crate::manifest::content::ManifestContent;
use crate::meter::{Meter, RegistryStats, RequestGuard, RequestLog, Requested, Snapshot};
use crate::negative::NegativeCache;
use crate::outcome::{Answer, Outcome};
use crate::places::Places;
use crate::pushes::Pushes;
use crate::question::{Content, Known, Question};
use crate::removed::{Removed, RemovedRules};
use crate::restoring::Restoring;
use crate::stale_warning::StaleWarning;
use crate::storage_warning::StorageWarning;
use crate::tag_lock::TagLock;

/// How long a registry is asked for what is stored, too: each of its answers has a limit, and redirects, tokens and further tries
/// add up.
const ASKED: Duration = Duration::from_secs(20);

/// What is fetched at a time that no client has asked for yet: blobs, and attestations with their signatures.
const READ_AHEAD: usize = 4;

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Never open a connection: what is not in the store is not found.
    pub offline: bool,
    /// How long tags are answered without asking the upstream again.
    pub tags: TagRules,
    /// Which images are served although their registry no longer has them.
    pub removed: RemovedRules,
    /// The tag lock: the digest that each tag means. Other tags are refused.
    pub frozen: Option<HashMap<(Target, Tag), Digest>>,
    /// Whether an image's blobs are fetched when its manifest is asked for, before they are.
    pub read_ahead: bool,
}

/// The cache; a clone is another handle of the same one.
#[derive(Clone)]
pub struct Cache(pub(crate) Arc<Inner>);

/// Flights of what is asked.
pub(crate) type Questions<V> = Flights<Question, Result<Answer<V>, Error>>;

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) upstreams: Upstreams,
    pub(crate) config: Config,
    pub(crate) tag_lock: Option<TagLock>,
    /// Where what outlives a request runs: a connection's own event loop is for answers.
    pub(crate) tasks: Handle,
    pub(crate) filler: Filler,
    /// The job's cache service, where there is one.
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) manifests: Questions<ManifestContent>,
    pub(crate) referrers: Questions<ReferrerList>,
    /// Places for both.
    pub(crate) questions: Places,
    /// Permits for what no client has asked for yet.
    pub(crate) ahead: Arc<Semaphore>,
    pub(crate) attestations: Attestations,
    pub(crate) grants: Arc<Grants>,
    pub(crate) negative: NegativeCache,
    pub(crate) removed: Removed,
    pub(crate) meter: Arc<Meter>,
    pub(crate) pushes: Pushes,
    pub(crate) latest: Latest,
    pub(crate) restoring: Restoring,
    pub(crate) storage_warning: Arc<StorageWarning>,
    pub(crate) stale_warning: StaleWarning,
}

impl Cache {
    /// A cache over a store and its upstreams. What it fetches it fetches on the runtime that it is made in.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(store: Store, upstreams: Upstreams, mut config: Config) -> Self {
        let tasks = Handle::current();
        let (grants, meter, storage_warning) =
            (Arc::<Grants>::default(), Arc::<Meter>::default(), Arc::<StorageWarning>::default());
        let carrier = Arc::<Carrier>::default();
        let filler = Filler::new(
            store.clone(),
            Arc::clone(&carrier),
            Arc::clone(&grants),
            Arc::clone(&meter),
            Arc::clone(&storage_warning),
            tasks.clone(),
        );
        Self(Arc::new(Inner {
            tag_lock: config.frozen.take().map(TagLock::new),
            store,
            upstreams,
            config,
            filler,
            carrier,
            manifests: Flights::new(tasks.clone()),
            referrers: Flights::new(tasks.clone()),
            questions: Places::of_questions(),
            tasks,
            ahead: Arc::new(Semaphore::new(READ_AHEAD)),
            attestations: Attestations::default(),
            grants,
            negative: NegativeCache::default(),
            removed: Removed::default(),
            meter,
            pushes: Pushes::default(),
            latest: Latest::default(),
            restoring: Restoring::default(),
            storage_warning,
            stale_warning: StaleWarning::default(),
        }))
    }

    /// Waits until no fill runs, for at most `patience`; false when some are abandoned. No fill begins after that.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.0.filler.drain(patience).await
    }

    /// Makes what the first miss needs, so that it need not wait for it. Blocks for some 40 ms.
    pub fn prepare(&self) {
        if !self.config().offline {
            self.0.upstreams.prepare();
        }
    }

    /// Whether requests for this registry can be answered: an upstream is configured for it.
    pub fn knows(&self, registry: &Registry) -> bool {
        self.0.upstreams.get(registry).is_some()
    }

    /// Which of these contents a repository is not known to have; see [`Store::missing`].
    pub fn missing(&self, target: &Target, contents: &[Digest]) -> Vec<Digest> {
        self.store().missing(target, contents)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Counts a request of a repository that came at `came`, until the guard is dropped.
    pub fn count_request(&self, target: &Target, requested: Requested<'_>, came: Instant) -> RequestGuard {
        self.0.meter.request(target, requested, came)
    }

    /// The latest requests for manifests and blobs.
    pub fn requests(&self) -> RequestLog {
        self.0.meter.requests()
    }

    /// Everything that was counted since the start.
    pub fn snapshot(&self) -> Snapshot {
        let mut registries = BTreeMap::new();
        for name in self.0.upstreams.registries() {
            let Some(upstream) = self.0.upstreams.get(&name) else { continue };
            let (rate_limit, origins) = (upstream.rate_limit(), upstream.origins());
            let stats = RegistryStats { rate_limit, origins, ..self.0.meter.registry(&name) };
            registries.insert(name.to_string(), stats);
        }
        let tag_lock = self.0.tag_lock.as_ref().map(TagLock::report).unwrap_or_default();
        let removed = self.0.removed.report();
        Snapshot { repositories: self.0.meter.repositories(), registries, tag_lock, removed }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Warns, at most once in five minutes, that contents are served without being stored.
    pub(crate) fn store_takes_nothing(&self, why: &Error) {
        self.0.storage_warning.warn(why);
    }

    /// Whether what is stored of a repository may be given to this caller.
    pub(crate) fn admission(&self, access: &Access) -> Admission {
        self.0.grants.admission(self.store().is_private(&access.target), access, Instant::now())
    }

    /// Finds out who may have what `upstream` has just answered; see [`Grants::classify`].
    pub(crate) async fn classify(&self, upstream: &Upstream, question: &Question, known: Known) {
        let Inner { grants, store, storage_warning, .. } = &*self.0;
        grants.classify(store, storage_warning, upstream, question, known).await;
    }

    /// Writes what an answer that was `asked` for then says of a tag or a list, unless something newer is known; `None` then. It is
    /// for a thread that may block.
    pub(crate) fn write_latest<T>(
        &self,
        target: &Target,
        content: &Content,
        asked: Instant,
        write: impl FnOnce() -> T,
    ) -> Option<T> {
        let is_older = || self.0.pushes.is_pushed_to_since(target, asked);
        let written = self.0.latest.write(target, content, asked, || (!is_older()).then(write)).flatten();
        // A push that came while it was written has expired what was there before.
        if written.is_some() && is_older() {
            match content {
                Content::Manifest(Reference::Tag(tag)) => self.store().expire_tag(target, tag),
                Content::Referrers(_) => self.store().expire_referrers(target),
                Content::Manifest(Reference::Digest(_)) | Content::Blob(_) => {}
            }
        }
        written
    }

    /// # Errors
    /// [`Error::Offline`] with `--offline`: the one place where that is honoured.
    pub(crate) fn check_online(&self) -> Result<(), Error> {
        if self.0.config.offline { Err(Error::Offline) } else { Ok(()) }
    }

    /// The upstream to ask, as this caller may ask it.
    ///
    /// # Errors
    /// [`Error::UnknownRegistry`], [`Error::Offline`].
    pub(crate) fn upstream(&self, access: &Access) -> Result<Upstream, Failure> {
        let registry = &access.target.registry;
        let upstream = self.0.upstreams.get(registry).ok_or_else(|| Failure {
            error: Error::UnknownRegistry(registry.clone()),
            outcome: Outcome::Local,
        })?;
        self.check_online().map_err(|error| Failure { error, outcome: Outcome::Offline })?;
        Ok(access.caller.ask_through(upstream))
    }
}

/// What is asked of a registry; where what is stored `can_be_given` instead, a failure after 20 s.
pub(crate) async fn in_time<T>(
    can_be_given: bool,
    asking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    if !can_be_given {
        return asking.await;
    }
    let late =
        || Error::unavailable(format!("the registry has not come to an end within {} s", ASKED.as_secs()));
    tokio::time::timeout(ASKED, asking).await.unwrap_or_else(|_| Err(late().into()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hubcap_oci::{Algorithm, Manifest};
    use hubcap_store::{Options, Validation};

    use super::*;
    use crate::freshness::Ttl;

    #[tokio::test]
    async fn a_push_while_an_older_answer_is_written_makes_it_one_that_is_asked_for_again() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), Options::default()).expect("a store");
        let upstreams =
            hubcap_upstream::Config { upstreams: Vec::new(), allowed: Vec::new(), timeout: ASKED };
        let config = Config {
            offline: false,
            tags: TagRules { rules: Vec::new(), default: Ttl::For(ASKED) },
            removed: RemovedRules::default(),
            frozen: None,
            read_ahead: false,
        };
        let cache = Cache::new(store, Upstreams::new(upstreams).expect("upstreams"), config);
        let target = Target::new(Registry::docker_hub(), "org/app".parse().expect("a name"));
        let tag: Tag = "1".parse().expect("a tag");
        let reference = Reference::Tag(tag.clone());
        let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
        let manifest = Manifest::parse(Digest::of(Algorithm::Sha256, &bytes), &bytes, None).expect("one");
        let write = |is_pushed_to: bool| {
            let content = Content::Manifest(reference.clone());
            let written = cache.write_latest(&target, &content, Instant::now(), || {
                if is_pushed_to {
                    cache.pushing(&target);
                    cache.pushed(&target, &reference);
                }
                cache.store().put_manifest(&target, &manifest, &bytes, Some(&tag))
            });
            assert!(written.is_some_and(|written| written.is_ok()));
            cache.store().tag(&target, &tag).expect("a tag").validated
        };
        assert!(matches!(write(false), Validation::Here(_)));
        assert_eq!(write(true), Validation::Unknown);
    }

    #[tokio::test]
    async fn a_registry_is_not_waited_for_long_where_something_is_stored() {
        let never = std::future::pending::<Result<(), Failure>>();
        let failure = tokio::time::timeout(2 * ASKED, in_time(true, never)).await.expect("in time");
        assert!(failure.expect_err("a failure").stale_reason().is_some());
    }
}
