//! Which answer says what a tag means, or what refers to a manifest: the one that was asked for last. Another one that was asked
//! for earlier may come later, through another login, and what it says is older.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubcap_oci::Target;

use crate::limited_map::LimitedMap;
use crate::lock::lock;
use crate::question::Content;

/// No answer comes later than this after it was asked for.
const LONGEST: Duration = Duration::from_secs(300);
/// Questions that are remembered at most. Of another one, the answer that comes last counts.
const MAX: usize = 10_000;

/// When what was asked for that is known of tags and lists. Each is locked while it is written, so that nothing older is written
/// after it.
pub(crate) struct Latest(Mutex<Known>);

type Known = LimitedMap<(Target, Content), Arc<Mutex<Instant>>>;

impl Default for Latest {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, LONGEST)))
    }
}

impl Latest {
    /// Writes what an answer that was `asked` for then says, unless something newer is known; `None` then. Others that would write
    /// the same wait for it.
    pub(crate) fn write<T>(
        &self,
        target: &Target,
        content: &Content,
        asked: Instant,
        write: impl FnOnce() -> T,
    ) -> Option<T> {
        let newest = self.newest(target, content, asked);
        let mut newest = lock(&newest);
        if *newest > asked {
            return None;
        }
        *newest = asked;
        Some(write())
    }

    /// When the newest was asked for that is known.
    fn newest(&self, target: &Target, content: &Content, asked: Instant) -> Arc<Mutex<Instant>> {
        let (mut known, key, now) = (lock(&self.0), (target.clone(), content.clone()), Instant::now());
        let newest = known.get(&key, now).map_or_else(|| Arc::new(Mutex::new(asked)), Arc::clone);
        known.insert(key, Arc::clone(&newest), now);
        newest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use hubcap_oci::Reference;

    use super::*;

    fn target() -> Target {
        Target::new("ghcr.io".parse().expect("a registry"), "org/app".parse().expect("a name"))
    }

    fn tag(tag: &str) -> Content {
        Content::Manifest(Reference::Tag(tag.parse().expect("a tag")))
    }

    #[test]
    fn what_was_asked_for_earlier_is_older_whenever_it_comes() {
        let (latest, first) = (Latest::default(), Instant::now());
        let take = |name: &str, asked| latest.write(&target(), &tag(name), asked, || ()).is_some();
        let second = first + Duration::from_secs(1);
        assert!(take("1", second) && take("1", second));
        assert!(!take("1", first) && take("2", first));
        assert!(take("1", second + Duration::from_secs(1)));
    }

    #[test]
    fn nothing_older_is_written_after_what_is_newer_however_long_that_takes() {
        let (latest, first, written) = (Latest::default(), Instant::now(), Mutex::new(Vec::new()));
        let second = first + Duration::from_secs(1);
        let (writes, is_writing) = mpsc::channel();
        let write = |asked, name: &'static str| {
            latest.write(&target(), &tag("1"), asked, || lock(&written).push(name))
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                latest.write(&target(), &tag("1"), first, || {
                    writes.send(()).expect("it is waited for");
                    // Time enough for the other one, which has to wait.
                    thread::sleep(Duration::from_millis(50));
                    lock(&written).push("older");
                })
            });
            is_writing.recv().expect("it writes");
            write(second, "newer");
        });
        write(first, "older");
        assert_eq!(*lock(&written), ["older", "newer"]);
    }
}
