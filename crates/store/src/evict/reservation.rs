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
    /// What of them is not taken from the disk yet.
    untaken: u64,
    promised: u64,
}

impl Reservation {
    /// Room for nothing yet.
    pub(crate) fn new(evictor: &Arc<Evictor>, digest: Digest) -> Self {
        *lock(&evictor.in_flight).entry(digest).or_default() += 1;
        Self { evictor: Arc::clone(evictor), digest, bytes: 0, untaken: 0, promised: 0 }
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

    /// Makes room for `least` bytes more, and for `most` where nothing has to go for that. On error the reservation is unchanged.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: everything that may go is gone, and it is not enough.
    pub(crate) fn grow(&mut self, least: u64, most: u64) -> Result<(), Error> {
        let bytes = match self.evictor.reserve_free(most)? {
            0 => most,
            _ => {
                self.evictor.reserve(least)?;
                least
            }
        };
        self.bytes = self.bytes.saturating_add(bytes);
        self.untaken = self.untaken.saturating_add(bytes);
        Ok(())
    }

    /// How many of the bytes are not taken from the disk yet.
    pub(crate) const fn untaken(&self) -> u64 {
        self.untaken
    }

    /// Notes that all of them are.
    pub(crate) fn take(&mut self) {
        let mut room = lock(&self.evictor.room);
        room.untaken = room.untaken.saturating_sub(std::mem::take(&mut self.untaken));
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
        self.take();
        {
            let mut room = lock(&self.evictor.room);
            room.reserved = room.reserved.saturating_sub(self.bytes);
        }
        {
            let mut promised = lock(&self.evictor.promised);
            *promised = promised.saturating_sub(self.promised);
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
