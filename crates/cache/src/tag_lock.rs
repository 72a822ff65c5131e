//! The tag lock (`--frozen`): each tag means the digest that the lock has for it, whatever the upstream says now. A tag that
//! is not in the lock is refused. A tag that the upstream has moved is reported.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use hubcap_oci::{Digest, Tag, Target};

use crate::error::{Error, Failure};
use crate::lock::lock;
use crate::meter::TagLockReport;
use crate::outcome::Outcome;

/// Refused tags that are told by name, in the log and in the report: a client may ask for any number.
const MOST_REFUSED: usize = 500;

/// A lock, and what came of it.
#[derive(Debug)]
pub(crate) struct TagLock {
    tags: HashMap<(Target, Tag), Digest>,
    /// Tags that were compared with the upstream. No more than the lock has.
    compared: Mutex<HashSet<(Target, Tag)>>,
    report: Mutex<TagLockReport>,
}

impl TagLock {
    pub(crate) fn new(tags: HashMap<(Target, Tag), Digest>) -> Self {
        Self { tags, compared: Mutex::default(), report: Mutex::default() }
    }

    /// The digest that the tag is locked to.
    ///
    /// # Errors
    /// [`Error::NotLocked`]. It is counted, and the log is told once of each tag: a client that was refused by its mirror
    /// asks the registry itself next, so nothing else tells of it.
    pub(crate) fn digest(&self, target: &Target, tag: &Tag) -> Result<Digest, Failure> {
        if let Some(digest) = self.tags.get(&(target.clone(), tag.clone())) {
            return Ok(*digest);
        }
        let name = format!("{target}:{tag}");
        let error = Error::NotLocked { name: name.clone() };
        let mut report = lock(&self.report);
        if report.refused.len() >= MOST_REFUSED && !report.refused.contains_key(&name) {
            report.others_refused += 1;
            return Err(Failure { error, outcome: Outcome::NotLocked });
        }
        let count = report.refused.entry(name).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(target: "hubcap::frozen", "{error}. The client may fetch it elsewhere: dockerd asks Docker \
                Hub next");
        }
        Err(Failure { error, outcome: Outcome::NotLocked })
    }

    /// Whether the tag is to be compared with the upstream: once for each.
    pub(crate) fn begin_comparing(&self, target: &Target, tag: &Tag) -> bool {
        lock(&self.compared).insert((target.clone(), tag.clone()))
    }

    /// Reports that the upstream has moved the tag from `locked` to `now`.
    pub(crate) fn report_moved(&self, target: &Target, tag: &Tag, locked: &Digest, now: Digest) {
        let name = format!("{target}:{tag}");
        tracing::warn!(target: "hubcap::frozen", "{name} has moved: it is locked to {locked}, and the upstream now has \
            {now}; the locked one is served. `hubcap lock` follows it");
        lock(&self.report).moved.insert(name, now);
    }

    pub(crate) fn report(&self) -> TagLockReport {
        lock(&self.report).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hubcap_oci::Algorithm;

    use super::*;

    fn target() -> Target {
        Target {
            registry: "ghcr.io".parse().expect("a registry"),
            repository: "org/a".parse().expect("a repository"),
        }
    }

    fn tag(text: &str) -> Tag {
        text.parse().expect("a tag")
    }

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    fn tag_lock() -> TagLock {
        TagLock::new(HashMap::from([((target(), tag("v1")), digest(b"a"))]))
    }

    #[test]
    fn a_locked_tag_means_its_digest() {
        assert_eq!(tag_lock().digest(&target(), &tag("v1")).expect("locked"), digest(b"a"));
    }

    #[test]
    fn a_tag_that_is_not_locked_is_refused_and_counted() {
        let tag_lock = tag_lock();
        for _ in 0..2 {
            let failure = tag_lock.digest(&target(), &tag("v2")).expect_err("not locked");
            assert_eq!(failure.outcome, Outcome::NotLocked);
        }
        assert_eq!(tag_lock.report().refused, BTreeMap::from([("ghcr.io/org/a:v2".to_owned(), 2)]));
    }

    #[test]
    fn no_more_than_500_refused_tags_are_told_by_name() {
        let tag_lock = tag_lock();
        for n in 0..600 {
            tag_lock.digest(&target(), &tag(&format!("t{n}"))).expect_err("not locked");
        }
        let report = tag_lock.report();
        assert_eq!((report.refused.len(), report.others_refused), (500, 100));
    }

    #[test]
    fn a_tag_is_compared_once() {
        let tag_lock = tag_lock();
        assert!(tag_lock.begin_comparing(&target(), &tag("v1")));
        assert!(!tag_lock.begin_comparing(&target(), &tag("v1")));
    }

    #[test]
    fn a_tag_that_has_moved_is_reported_and_means_what_it_meant() {
        let tag_lock = tag_lock();
        tag_lock.report_moved(&target(), &tag("v1"), &digest(b"a"), digest(b"b"));
        assert_eq!(tag_lock.report().moved, BTreeMap::from([("ghcr.io/org/a:v1".to_owned(), digest(b"b"))]));
        assert_eq!(tag_lock.digest(&target(), &tag("v1")).expect("locked"), digest(b"a"));
    }
}
