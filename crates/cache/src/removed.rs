//! Images that their registry no longer has. Where the operator says so, what is stored of a public one goes on being served,
//! and is told each time.
//!
//! Docker Hub does not say "removed": a repository that is gone is refused with 401 there, as a private one is.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use hubcap_oci::{Pattern, Tag, Target};

use crate::access::Access;
use crate::error::Error;
use crate::limited_map::LimitedMap;
use crate::lock::lock;
use crate::meter::RemovedImage;

/// How long it is good that an image is gone for everybody, and not only for a caller.
const LIFE: Duration = Duration::from_secs(10);
/// How long the log is not told again of an image.
const QUIET: Duration = Duration::from_secs(3600);
/// Images that are told of and counted at most.
const MAX: usize = 1000;

/// What becomes of an image that its registry no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemoved {
    /// Its registry's no is the answer.
    Refuse,
    /// What is stored of it is served, if everybody could have it.
    Serve,
}

/// Which images are served although their registry no longer has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RemovedRules {
    /// The first pattern that matches decides. Without one, images are refused.
    pub rules: Vec<(Pattern, OnRemoved)>,
}

impl RemovedRules {
    pub(crate) fn on_removed(&self, target: &Target, tag: Option<&Tag>) -> OnRemoved {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(target, tag));
        rule.map_or(OnRemoved::Refuse, |(_, on_removed)| *on_removed)
    }
}

/// What was found out about images that are gone, and told of them.
pub(crate) struct Removed {
    /// For whom, and which tag; `None` for a list.
    pub(crate) confirmed: Mutex<LimitedMap<(Access, Option<Tag>), ()>>,
    /// By the image's whole name.
    told: Mutex<LimitedMap<String, ()>>,
    served: Mutex<BTreeMap<String, RemovedImage>>,
}

impl Default for Removed {
    fn default() -> Self {
        Self {
            confirmed: Mutex::new(LimitedMap::new(MAX, LIFE)),
            told: Mutex::new(LimitedMap::new(MAX, QUIET)),
            served: Mutex::default(),
        }
    }
}

impl Removed {
    /// Counts an answer with a stored image, and tells the log of it now and then. `confirmed` is when the registry last had
    /// it, where that is known.
    pub(crate) fn serve(&self, name: String, confirmed: Option<SystemTime>, error: &Error) {
        let now = Instant::now();
        let mut told = lock(&self.told);
        if told.get(&name, now).is_none() {
            told.insert(name.clone(), (), now);
            let since = confirmed.map_or_else(
                || "it is not known when the registry last had it".to_owned(),
                |at| format!("the registry last had it on {}", httpdate::fmt_http_date(at)),
            );
            tracing::warn!(target: "hubcap::removed", "{name} seems to be removed from its registry ({error}). The stored \
                image is served, because on-removed is \"serve\" for it; {since}. It gets no updates any more: replace it, \
                or keep a copy in a registry of yours");
        }
        drop(told);
        let mut served = lock(&self.served);
        if served.len() < MAX || served.contains_key(&name) {
            let image = served.entry(name).or_default();
            image.served += 1;
            image.confirmed =
                confirmed.and_then(|at| Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()));
        }
    }

    pub(crate) fn report(&self) -> BTreeMap<String, RemovedImage> {
        lock(&self.served).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        let (registry, repository) = name.split_once('/').expect("registry/repository");
        Target {
            registry: registry.parse().expect("a registry"),
            repository: repository.parse().expect("a repository"),
        }
    }

    #[test]
    fn images_are_refused_unless_the_first_rule_for_them_says_otherwise() {
        let rule = |text: &str, on_removed| (text.parse().expect("a pattern"), on_removed);
        let rules = RemovedRules {
            rules: vec![
                rule("docker.io/minio/mc:latest", OnRemoved::Refuse),
                rule("docker.io/minio/*", OnRemoved::Serve),
            ],
        };
        let tag: Tag = "latest".parse().expect("a tag");
        assert_eq!(rules.on_removed(&target("docker.io/minio/minio"), Some(&tag)), OnRemoved::Serve);
        assert_eq!(rules.on_removed(&target("docker.io/minio/minio"), None), OnRemoved::Serve);
        assert_eq!(rules.on_removed(&target("docker.io/minio/mc"), Some(&tag)), OnRemoved::Refuse);
        assert_eq!(rules.on_removed(&target("docker.io/library/alpine"), Some(&tag)), OnRemoved::Refuse);
        assert_eq!(
            RemovedRules::default().on_removed(&target("docker.io/minio/minio"), None),
            OnRemoved::Refuse
        );
    }

    #[test]
    fn every_answer_is_counted_and_the_number_of_images_is_bounded() {
        let removed = Removed::default();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        removed.serve("docker.io/a/b:1".into(), None, &Error::NotFound);
        removed.serve("docker.io/a/b:1".into(), Some(at), &Error::Denied);
        let report = removed.report();
        assert_eq!(report["docker.io/a/b:1"], RemovedImage { served: 2, confirmed: Some(7) });
        for number in 0..2 * MAX {
            removed.serve(format!("docker.io/a/b:{number}"), None, &Error::NotFound);
        }
        assert_eq!(removed.report().len(), MAX);
    }
}
