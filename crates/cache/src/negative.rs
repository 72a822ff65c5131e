//! An upstream's "no", remembered briefly: clients ask again and again, and each question may cost a pull.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hubcap_oci::{Reference, Target};

use crate::authorization::Access;
use crate::error::{Error, Failure};
use crate::lock::lock;
use crate::outcome::Outcome;

/// How long a "no" is good. Short: somebody may be pushing the image just now.
const LIFE: Duration = Duration::from_secs(10);
/// What is remembered at most; beyond, the old ones go.
const MAX: usize = 4096;

/// What was refused, and to whom. A blob is asked for by its digest, as a manifest is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    Manifest(Access, Reference),
    Blob(Access, Reference),
}

#[derive(Default)]
pub(crate) struct NegativeCache(Mutex<HashMap<Refused, (Error, Instant)>>);

impl NegativeCache {
    /// The answer that is still good, if there is one.
    pub(crate) fn check(&self, what: &Refused) -> Result<(), Failure> {
        match lock(&self.0).get(what) {
            Some((error, at)) if at.elapsed() < LIFE => {
                Err(Failure { error: error.clone(), outcome: Outcome::Refused })
            }
            _ => Ok(()),
        }
    }

    /// Forgets what a repository refused: it has just been written to.
    pub(crate) fn forget(&self, target: &Target) {
        lock(&self.0)
            .retain(|(Refused::Manifest(access, _) | Refused::Blob(access, _)), _| access.target != *target);
    }

    /// Notes an answer; only a "no" is remembered.
    pub(crate) fn note<T>(&self, what: Refused, answer: &Result<T, Error>) {
        let Err(error @ (Error::NotFound | Error::Denied)) = answer else { return };
        let mut refused = lock(&self.0);
        if refused.len() >= MAX {
            refused.retain(|_, (_, at)| at.elapsed() < LIFE);
        }
        if refused.len() < MAX {
            refused.insert(what, (error.clone(), Instant::now()));
        }
    }
}
