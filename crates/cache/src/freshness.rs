//! Whether a stored tag may be answered without asking: a pure decision.

use std::time::Duration;

use hubcap_oci::{Pattern, Tag, Target};
use hubcap_store::{Moment, Validation};

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

/// Decides by age. A tag whose validation the clocks cannot judge has expired: one of the future (the clock was set back, or
/// somebody forged the time), and one of another run of the machine (the store came out of a cache, whose times anybody
/// may have written who may write to that cache).
pub fn of_tag(validated: Validation, now: Moment, ttl: Ttl) -> Freshness {
    let Ttl::For(ttl) = ttl else { return Freshness::Fresh { ttl: None } };
    let (is_reliable, age) = match validated {
        Validation::Here(moment) => (true, moment.age(now)),
        Validation::Elsewhere(at) => (false, now.at.duration_since(at).ok()),
        Validation::Unknown => (false, None),
    };
    match age {
        Some(age) if is_reliable && age < ttl => Freshness::Fresh { ttl: Some((ttl - age).as_secs()) },
        age => Freshness::Expired { over: age.unwrap_or_default().saturating_sub(ttl).as_secs() },
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn now() -> Moment {
        Moment { at: SystemTime::UNIX_EPOCH + seconds(10_000_000), up: seconds(10_000) }
    }

    /// This long before [`now`], by both clocks.
    fn ago(age: u64) -> Moment {
        Moment { at: now().at - seconds(age), up: now().up - seconds(age) }
    }

    #[test]
    fn a_tag_is_fresh_until_its_ttl_has_passed() {
        let at = |age: u64| of_tag(Validation::Here(ago(age)), now(), Ttl::For(TTL));
        assert_eq!(at(0), Freshness::Fresh { ttl: Some(300) });
        assert_eq!(at(299), Freshness::Fresh { ttl: Some(1) });
        assert_eq!(at(300), Freshness::Expired { over: 0 });
        assert_eq!(at(307), Freshness::Expired { over: 7 });
        assert_eq!(of_tag(Validation::Unknown, now(), Ttl::Immutable), Freshness::Fresh { ttl: None });
    }

    #[test]
    fn a_ttl_of_zero_asks_every_time() {
        let freshness = of_tag(Validation::Here(now()), now(), Ttl::For(Duration::ZERO));
        assert_eq!(freshness, Freshness::Expired { over: 0 });
    }

    #[test]
    fn a_tag_that_was_validated_in_the_future_has_expired() {
        for later in [1, 60, 315_360_000] {
            let later = Moment { at: now().at + seconds(later), ..now() };
            assert_eq!(of_tag(Validation::Here(later), now(), Ttl::For(TTL)), Freshness::Expired { over: 0 });
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_tag_fresh_again() {
        // Validated 307 s ago; then the clock was set back by 300 s.
        let validated = Moment { at: now().at - seconds(7), up: now().up - seconds(307) };
        assert_eq!(of_tag(Validation::Here(validated), now(), Ttl::For(TTL)), Freshness::Expired { over: 7 });
    }

    #[test]
    fn a_tag_that_another_run_of_a_machine_validated_has_expired() {
        let elsewhere = |age| Validation::Elsewhere(ago(age).at);
        assert_eq!(of_tag(elsewhere(1), now(), Ttl::For(TTL)), Freshness::Expired { over: 0 });
        assert_eq!(of_tag(elsewhere(307), now(), Ttl::For(TTL)), Freshness::Expired { over: 7 });
        assert_eq!(of_tag(Validation::Unknown, now(), Ttl::For(TTL)), Freshness::Expired { over: 0 });
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
