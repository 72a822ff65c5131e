//! Whether a stored tag may be answered without asking: a pure decision.

use std::time::{Duration, SystemTime};

use hubcap_oci::{Pattern, Tag, Target};
use hubcap_store::Validation;

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

/// Decides by age. A tag whose validation this clock cannot judge has expired: one of the future (the clock was set back, or
/// somebody forged the time), and one of another run of the machine (the store came out of a cache, whose times anybody
/// may have written who may write to that cache).
pub fn of_tag(validated: Validation, now: SystemTime, ttl: Ttl) -> Freshness {
    let Ttl::For(ttl) = ttl else { return Freshness::Fresh { ttl: None } };
    let age = validated.time().and_then(|at| now.duration_since(at).ok());
    match (validated, age) {
        (Validation::Here(_), Some(age)) if age < ttl => {
            Freshness::Fresh { ttl: Some((ttl - age).as_secs()) }
        }
        (_, age) => Freshness::Expired { over: age.unwrap_or_default().saturating_sub(ttl).as_secs() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_fresh_until_its_ttl_has_passed() {
        let ttl = Ttl::For(Duration::from_secs(300));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let at = |age: u64| of_tag(Validation::Here(now - Duration::from_secs(age)), now, ttl);
        assert_eq!(at(0), Freshness::Fresh { ttl: Some(300) });
        assert_eq!(at(299), Freshness::Fresh { ttl: Some(1) });
        assert_eq!(at(300), Freshness::Expired { over: 0 });
        assert_eq!(at(307), Freshness::Expired { over: 7 });
        assert_eq!(of_tag(Validation::Unknown, now, Ttl::Immutable), Freshness::Fresh { ttl: None });
    }

    #[test]
    fn a_ttl_of_zero_asks_every_time() {
        let now = SystemTime::now();
        let freshness = of_tag(Validation::Here(now), now, Ttl::For(Duration::ZERO));
        assert_eq!(freshness, Freshness::Expired { over: 0 });
    }

    #[test]
    fn a_tag_that_was_validated_in_the_future_has_expired() {
        let now = SystemTime::now();
        for later in [1, 60, 315_360_000] {
            let later = Validation::Here(now + Duration::from_secs(later));
            assert_eq!(
                of_tag(later, now, Ttl::For(Duration::from_secs(300))),
                Freshness::Expired { over: 0 }
            );
        }
    }

    #[test]
    fn a_tag_that_another_run_of_a_machine_validated_has_expired() {
        let now = SystemTime::now();
        let ttl = Ttl::For(Duration::from_secs(300));
        let elsewhere = |age| Validation::Elsewhere(now - Duration::from_secs(age));
        assert_eq!(of_tag(elsewhere(1), now, ttl), Freshness::Expired { over: 0 });
        assert_eq!(of_tag(elsewhere(307), now, ttl), Freshness::Expired { over: 7 });
        assert_eq!(of_tag(Validation::Unknown, now, ttl), Freshness::Expired { over: 0 });
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
