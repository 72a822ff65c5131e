//! Which manifest attests which image.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::{Digest, Link, Target};

use crate::limited_map::LimitedMap;
use crate::lock::lock;

/// How long after an index its manifests are asked for, at most.
const LIFE: Duration = Duration::from_secs(300);
/// Images whose attestation is remembered at most. One that is not has its attestation fetched when it is asked for.
const MAX: usize = 4096;

/// Which attestation a client takes with an image: the index says that, which goes out before the image's manifest.
pub(crate) struct Attestations(Mutex<LimitedMap<(Target, Digest), Digest>>);

impl Default for Attestations {
    fn default() -> Self {
        Self(Mutex::new(LimitedMap::new(MAX, LIFE)))
    }
}

impl Attestations {
    /// Notes what an index says, from its manifests. Of several attestations of one image the last one counts: BuildKit makes
    /// one for each image, and dockerd takes the last.
    pub(crate) fn note(&self, target: &Target, manifests: &[Link], now: Instant) {
        let mut known = lock(&self.0);
        for link in manifests {
            if let Some(attested) = link.refers_to {
                known.insert((target.clone(), attested), link.digest, now);
            }
        }
    }

    /// The attestation of an image.
    pub(crate) fn of(&self, target: &Target, image: Digest, now: Instant) -> Option<Digest> {
        lock(&self.0).get(&(target.clone(), image), now).copied()
    }
}
