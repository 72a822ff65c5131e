//! Which answer says what a tag means, or what refers to a manifest: the one that was asked for last. Another one that was asked
//! for earlier may come later, through another login, and what it says is older.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::Target;

use crate::limited_map::LimitedMap;
use crate::lock::lock;
use crate::question::Content;

/// No answer comes later than this after it was asked for.
const LONGEST: Duration = Duration::from_secs(300);
/// Questions that are remembered at most. Of another one, the answer that comes last counts.
const MAX: usize = 10_000;

/// When what was asked for that is known of tags and lists.
pub(crate) struct Latest(Mutex<LimitedMap<(Target, Content), Instant>>);

impl Default for Latest {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, LONGEST)))
    }
}

impl Latest {
    /// Whether nothing newer is known than an answer that was `asked` for then, which is known from now on.
    pub(crate) fn take(&self, target: &Target, content: Content, asked: Instant) -> bool {
        let (mut known, key, now) = (lock(&self.0), (target.clone(), content), Instant::now());
        let is_latest = known.get(&key, now).is_none_or(|newest| *newest <= asked);
        if is_latest {
            known.insert(key, asked, now);
        }
        is_latest
    }
}

#[cfg(test)]
mod tests {
    use hubcap_oci::Reference;

    use super::*;

    #[test]
    fn what_was_asked_for_earlier_is_older_whenever_it_comes() {
        let (latest, first) = (Latest::default(), Instant::now());
        let target = Target::new("ghcr.io".parse().expect("a registry"), "org/app".parse().expect("a name"));
        let take = |tag: &str, asked| {
            let tag = tag.parse().expect("a tag");
            latest.take(&target, Content::Manifest(Reference::Tag(tag)), asked)
        };
        let second = first + Duration::from_secs(1);
        assert!(take("1", second) && take("1", second));
        assert!(!take("1", first) && take("2", first));
        assert!(take("1", second + Duration::from_secs(1)));
    }
}
