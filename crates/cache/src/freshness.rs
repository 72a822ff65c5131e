//! Whether a stored tag may be answered without asking: a pure decision.

use std::time::{Duration, SystemTime};

use hubcap_oci::{Pattern, Tag, Target};

/// How long a tag is answered without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// For this time after the upstream was last asked.
    For(Duration),
    /// For ever: it never moves.
    Immutable,
}

/// Which tags are answered for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct TagRules {
    /// The first pattern that matches decides.
    pub rules: Vec<(Pattern, Ttl)>,
    /// For all other tags.
    pub default: Ttl,
}

impl TagRules {
    /// How long a tag is answered without asking.
    pub fn ttl(&self, target: &Target, tag: &Tag) -> Ttl {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(target, Some(tag)));
        rule.map_or(self.default, |(_, ttl)| *ttl)
    }
}

/// What to do with a tag that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is answered without asking.
    Fresh {
        /// Seconds until it must be asked for again; `None` for never.
        ttl: Option<u64>,
    },
    /// The upstream is asked whether it has moved.
    Expired {
        /// Seconds since its TTL has passed.
        over: u64,
    },
}

/// Decides by age. A tag that was validated in the future (the clock was set back, or the archive came from
/// another machine) counts as validated now, so that it is asked again after one TTL at the latest.
pub fn of_tag(validated_at: SystemTime, now: SystemTime, ttl: Ttl) -> Freshness {
    let Ttl::For(ttl) = ttl else { return Freshness::Fresh { ttl: None } };
    let age = now.duration_since(validated_at).unwrap_or_default();
    match ttl.checked_sub(age) {
        Some(left) if !left.is_zero() => Freshness::Fresh { ttl: Some(left.as_secs()) },
        _ => Freshness::Expired { over: (age - ttl).as_secs() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_fresh_until_its_ttl_has_passed() {
        let ttl = Ttl::For(Duration::from_secs(300));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let at = |age: u64| of_tag(now - Duration::from_secs(age), now, ttl);
        assert_eq!(at(0), Freshness::Fresh { ttl: Some(300) });
        assert_eq!(at(299), Freshness::Fresh { ttl: Some(1) });
        assert_eq!(at(300), Freshness::Expired { over: 0 });
        assert_eq!(at(307), Freshness::Expired { over: 7 });
        assert_eq!(of_tag(SystemTime::UNIX_EPOCH, now, Ttl::Immutable), Freshness::Fresh { ttl: None });
    }

    #[test]
    fn a_ttl_of_zero_asks_every_time_and_the_future_counts_as_now() {
        let now = SystemTime::now();
        assert_eq!(of_tag(now, now, Ttl::For(Duration::ZERO)), Freshness::Expired { over: 0 });
        let later = now + Duration::from_secs(60);
        assert_eq!(of_tag(later, now, Ttl::For(Duration::from_secs(5))), Freshness::Fresh { ttl: Some(5) });
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |text: &str, ttl| (text.parse().expect("a pattern"), ttl);
        let default = Ttl::For(Duration::from_secs(1));
        let rules = TagRules {
            rules: vec![
                rule("ghcr.io/a/*:v*", Ttl::Immutable),
                rule("ghcr.io/*", Ttl::For(Duration::from_secs(2))),
            ],
            default,
        };
        let ttl = |registry: &str, repository: &str, tag: &str| {
            let target = Target {
                registry: registry.parse().expect("a registry"),
                repository: repository.parse().expect("a repository"),
            };
            rules.ttl(&target, &tag.parse().expect("a tag"))
        };
        assert_eq!(ttl("ghcr.io", "a/b", "v1"), Ttl::Immutable);
        assert_eq!(ttl("ghcr.io", "a/b", "latest"), Ttl::For(Duration::from_secs(2)));
        assert_eq!(ttl("docker.io", "library/a", "v1"), default);
    }
}
