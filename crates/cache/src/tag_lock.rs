//! Tags out of a lock: each means the digest that is written there, whatever the upstream says now. A tag that is not
//! in the lock is refused; what the upstream has moved is told once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use hubcap_oci::{Digest, Reference, Tag, Target};

use crate::authorization::Access;
use crate::cache::Cache;
use crate::error::{Error, Failure};
use crate::lock::lock;
use crate::manifest::ManifestContent;
use crate::outcome::{Answer, Outcome};

/// A lock, and what came of it.
#[derive(Debug)]
pub(crate) struct TagLock {
    tags: HashMap<(Target, Tag), Digest>,
    /// Tags that the upstream was asked for.
    compared: Mutex<HashSet<(Target, Tag)>>,
    report: Mutex<FrozenReport>,
}

/// What a lock has refused and found out so far, by the images' whole names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrozenReport {
    /// Tags that were asked for and are not in the lock, and how often.
    pub refused: BTreeMap<String, u64>,
    /// Tags that mean something else upstream by now, and what.
    pub moved: BTreeMap<String, Digest>,
}

impl TagLock {
    pub(crate) fn new(tags: Vec<((Target, Tag), Digest)>) -> Self {
        let (compared, report) = (Mutex::default(), Mutex::default());
        Self { tags: tags.into_iter().collect(), compared, report }
    }

    /// What the tag is locked to. One that is not is counted, and told once: a client that was refused by its mirror
    /// goes on to the registry itself, so nothing else tells of it.
    fn digest(&self, target: &Target, tag: &Tag) -> Result<Digest, Failure> {
        if let Some(digest) = self.tags.get(&(target.clone(), tag.clone())) {
            return Ok(*digest);
        }
        let name = format!("{target}:{tag}");
        let error = Error::NotLocked { name: name.clone() };
        let mut report = lock(&self.report);
        let count = report.refused.entry(name).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(target: "hubcap::frozen", "{error}. The client may fetch it elsewhere: dockerd asks Docker \
                Hub next");
        }
        Err(Failure { error, outcome: Outcome::NotLocked })
    }
}

impl Cache {
    /// What a lock has refused and found out; `None` without one.
    pub fn frozen(&self) -> Option<FrozenReport> {
        self.0.frozen.as_ref().map(|frozen| lock(&frozen.report).clone())
    }

    /// A tag as it is locked: from the store, else fetched by its digest. It is never validated.
    pub(crate) async fn manifest_by_lock(
        &self,
        (access, frozen): (&Access, &TagLock),
        tag: &Tag,
    ) -> Result<Answer<ManifestContent>, Failure> {
        let digest = frozen.digest(&access.target, tag)?;
        let answer = self.manifest_by(access, &Reference::Digest(digest)).await?;
        // So that the store says the same when it is used without the lock, or carried elsewhere.
        let known = self.store().tag(&access.target, tag);
        if known.is_none_or(|known| known.descriptor.digest != digest) {
            self.keep(&access.target, answer.value.clone(), Some(tag.clone())).await?;
        }
        let first = lock(&frozen.compared).insert((access.target.clone(), tag.clone()));
        if first && !self.config().offline {
            let (cache, access, tag) = (self.clone(), access.clone(), tag.clone());
            self.0.tasks.spawn(async move { cache.compare(&access, &tag, digest).await });
        }
        Ok(answer)
    }

    /// Asks the upstream once what the tag means now, with a HEAD, beside the answer.
    async fn compare(&self, access: &Access, tag: &Tag, locked: Digest) {
        let (Ok(upstream), Some(frozen)) = (self.upstream(access), &self.0.frozen) else { return };
        let asked = upstream.head_manifest(&access.target.repository, &Reference::Tag(tag.clone())).await;
        let name = format!("{}:{tag}", access.target);
        match asked.map(|head| head.digest) {
            Ok(Some(now)) if now != locked => {
                tracing::warn!(target: "hubcap::frozen", "{name} has moved: it is locked to {locked}, and the upstream \
                    now has {now}; the locked one is served. `hubcap lock` follows it");
                lock(&frozen.report).moved.insert(name, now);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(target: "hubcap::frozen", "{name} was not compared: {error}"),
        }
    }
}
