//! Room that is promised to one ingest, before it writes.

use std::sync::Arc;

use hubcap_oci::Digest;

use super::Evictor;
use crate::error::Error;
use crate::mutex::lock;

/// Bytes that are promised to the ingest of one content, whose image is not removed meanwhile. Given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    evictor: Arc<Evictor>,
    digest: Digest,
    bytes: u64,
}

impl Reservation {
    /// Promises `bytes` for a content.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: everything that may go is gone, and it is not enough.
    pub(crate) fn new(evictor: &Arc<Evictor>, digest: Digest, bytes: u64) -> Result<Self, Error> {
        *lock(&evictor.in_flight).entry(digest).or_default() += 1;
        let mut reservation = Self { evictor: Arc::clone(evictor), digest, bytes: 0 };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Promises `bytes` more. On error the reservation is unchanged.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.evictor.reserve(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// What was promised so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = lock(&self.evictor.reserved);
        *reserved = reserved.saturating_sub(self.bytes);
        drop(reserved);
        let mut in_flight = lock(&self.evictor.in_flight);
        if let Some(count) = in_flight.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.digest);
            }
        }
    }
}
