//! Where a blob that the job's cache has as well is fetched. No request is made.

use std::time::Duration;

use hubcap_oci::{Algorithm, Digest};

use super::*;
use crate::actions_cache::{ActionsCache, EntryKey, Mode, Place, Service, Token};
use crate::config::Config;
use crate::upstreams::Upstreams;

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

struct Both {
    registry: Upstream,
    cache: ActionsCache,
}

impl Both {
    fn new() -> Self {
        let config = Config { upstreams: Vec::new(), allowed: Vec::new(), timeout: 30 * SECOND };
        let upstreams = Upstreams::new(config).expect("a configuration");
        let results_url = "http://127.0.0.1:1/".parse().expect("a URL");
        let service = Service { results_url, token: Token::new("token"), mode: Mode::Write };
        let registry = upstreams.get(&"docker.io".parse().expect("a registry")).expect("it is built in");
        Self { registry, cache: upstreams.actions_cache(service) }
    }

    /// A blob in an entry of its own, or in a pack, which was not looked up yet.
    fn blob(&self, size: u64, range: Option<Range<u64>>) -> RegistryBlob {
        let digest = Digest::of(Algorithm::Sha256, b"it");
        let place = Place::new(self.cache.clone(), EntryKey::content(&digest, 0));
        let repository = "library/a".parse().expect("a repository");
        self.registry.blob(&repository, &digest).cached(place.content(range, digest, size))
    }

    fn large(&self) -> RegistryBlob {
        self.blob(40 * MIB, None)
    }

    fn small(&self) -> RegistryBlob {
        self.blob(MIB, Some(0..MIB))
    }
}

#[test]
fn a_large_blob_is_asked_of_both_and_a_small_one_of_the_cache() {
    let both = Both::new();
    assert!(both.large().is_at_first() && both.large().beside().is_some());
    assert!(!both.small().is_at_first());
}

#[test]
fn a_small_blob_comes_from_the_registry_where_that_is_twice_as_fast() {
    let both = Both::new();
    both.small().measured(1, 10 * MIB, SECOND);
    both.small().measured(0, 19 * MIB, SECOND);
    assert!(!both.small().is_at_first());
    both.small().measured(0, 40 * MIB, SECOND);
    assert!(both.small().is_at_first());
}

#[test]
fn what_the_registry_has_sooner_is_not_looked_up() {
    let both = Both::new();
    both.large().measured(0, 100 * MIB, SECOND);
    assert!(both.large().beside().is_none());
    assert!(both.blob(60 * MIB, None).beside().is_some(), "this one takes longer");
}

#[test]
fn where_the_registrys_limit_is_near_the_cache_is_asked_alone() {
    let both = Both::new();
    let told = |remaining: &str| {
        let headers = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", remaining)];
        let headers = headers.map(|(name, value)| {
            (http::header::HeaderName::from_static(name), value.parse().expect("a value"))
        });
        both.registry.origin.note_rate_limit(&headers.into_iter().collect());
    };
    told("10;w=21600");
    assert!(both.large().is_at_first());
    told("9;w=21600");
    assert!(!both.large().is_at_first() && both.large().beside().is_none());
}
