//! Room for one ingest: what it is promised altogether, and what was made for what has come.

use std::sync::Arc;

use hubcap_oci::Digest;

use super::Evictor;
use crate::error::Error;
use crate::mutex::lock;

/// Room for the ingest of one content, whose image is not removed meanwhile. Given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    evictor: Arc<Evictor>,
    digest: Digest,
    bytes: u64,
    promised: u64,
}

impl Reservation {
    /// Room for nothing yet.
    pub(crate) fn new(evictor: &Arc<Evictor>, digest: Digest) -> Self {
        *lock(&evictor.in_flight).entry(digest).or_default() += 1;
        Self { evictor: Arc::clone(evictor), digest, bytes: 0, promised: 0 }
    }

    /// Promises that `bytes` altogether will fit; nothing is removed for that.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when not even an empty store would have room for them and for what others were promised.
    pub(crate) fn promise(&mut self, bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.promised);
        self.evictor.promise(more)?;
        self.promised += more;
        Ok(())
    }

    /// Makes room for `bytes` more. On error the reservation is unchanged.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: everything that may go is gone, and it is not enough.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.evictor.reserve(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// For how many bytes there is room.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes were promised.
    pub(crate) const fn promised(&self) -> u64 {
        self.promised
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for (all, own) in [(&self.evictor.reserved, self.bytes), (&self.evictor.promised, self.promised)] {
            let mut all = lock(all);
            *all = all.saturating_sub(own);
        }
        let mut in_flight = lock(&self.evictor.in_flight);
        if let Some(count) = in_flight.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.digest);
            }
        }
    }
}
