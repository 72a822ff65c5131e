//! What can be made to happen in a given order only from within.

use std::time::Duration;

use bytes::Bytes;
use hubcap_oci::{Algorithm, Registry, Target};
use hubcap_store::{Options, Store};
use hubcap_upstream::{OriginConfig, UpstreamConfig, Upstreams};

use super::*;
use crate::cache::Config;
use crate::freshness::{TagRules, Ttl};
use crate::{Caller, RemovedRules};

/// A cache whose registry is not there.
fn cache_without_registry(store: Store, target: &Target) -> Cache {
    let origin = OriginConfig { url: "http://127.0.0.1:9".parse().expect("a URL"), credentials: None };
    let upstream =
        UpstreamConfig { registry: target.registry.clone(), origins: vec![origin], stale_tags: false };
    let upstreams = hubcap_upstream::Config {
        upstreams: vec![upstream],
        allowed: Vec::new(),
        timeout: Duration::from_secs(1),
    };
    let config = Config {
        offline: false,
        tags: TagRules { rules: Vec::new(), default: Ttl::Immutable },
        removed: RemovedRules::default(),
        frozen: None,
        read_ahead: false,
    };
    Cache::new(store, Upstreams::new(upstreams).expect("upstreams"), config)
}

#[tokio::test]
async fn who_asks_in_the_moment_in_which_a_private_blob_is_stored_gets_it_as_any_stored_blob() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), Options::default()).expect("a store");
    let target = Target::new(Registry::docker_hub(), "org/private".parse().expect("a name"));
    let bytes = Bytes::from_static(b"private");
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let cache = cache_without_registry(store.clone(), &target);
    let stranger = Access { target: target.clone(), caller: Caller::new(Some("Bearer stranger")) };
    store.mark_private(&target).expect("marked");
    // The stranger has looked, and it was not there. Then it is stored.
    let mut ingest = store.ingest(digest, Some(7)).expect("an ingest");
    ingest.write(&bytes).expect("written");
    store.link_ingest(&target, &mut ingest);
    ingest.commit().expect("stored");
    let upstream = cache.upstream(&stranger).expect("an upstream");
    let flight = cache.0.filler.join(upstream, &stranger, &digest);
    let filled = cache.filled(flight, &stranger, &digest).await;
    assert!(filled.is_err(), "nobody has said that the stranger may have it");
    store.mark_public(&target).expect("marked");
    let anybody = Access::anonymous(target);
    let upstream = cache.upstream(&anybody).expect("an upstream");
    let flight = cache.0.filler.join(upstream, &anybody, &digest);
    let filled = cache.filled(flight, &anybody, &digest).await;
    assert!(matches!(filled, Ok(Filled::Stored(_))), "it is everybody's now");
}
