//! Which manifests attest which image.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Link, Target};

use crate::limited_map::LimitedMap;
use crate::lock::lock;

/// How long after an index its manifests are asked for, at most.
const LIFE: Duration = Duration::from_secs(300);
/// Images whose attestations are remembered at most. One that is not has its attestations fetched when they are asked for.
const MAX: usize = 4096;

/// Which attestations an image has: the index says that, which goes out before the image's manifest.
pub(crate) struct Attestations(Mutex<LimitedMap<(Target, Digest), Vec<Digest>>>);

impl Default for Attestations {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, LIFE)))
    }
}

impl Attestations {
    /// Notes what an index says, from its manifests.
    pub(crate) fn note(&self, target: &Target, manifests: &[Link], now: Instant) {
        for attested in manifests.iter().filter_map(|link| link.refers_to) {
            let attests = manifests.iter().filter(|link| link.refers_to == Some(attested));
            let attestations = attests.map(|link| link.digest).collect();
            lock(&self.0).insert((target.clone(), attested), attestations, now);
        }
    }

    /// The attestations of an image.
    pub(crate) fn of(&self, target: &Target, image: Digest, now: Instant) -> Vec<Digest> {
        lock(&self.0).get(&(target.clone(), image), now).cloned().unwrap_or_default()
    }
}
