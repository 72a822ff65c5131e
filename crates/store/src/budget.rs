//! How much the store may hold: bytes are reserved before a content is written, and room is made for them.

use fs_err as fs;

use crate::error::Error;
use crate::layout::Layout;
use crate::mutex::lock;
use crate::store::Store;

/// A limit as an operator writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// A part of the file system's size, from 0 to 1.
    Part(f64),
}

impl Limit {
    fn bytes(self, disk: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Rounded to whole bytes, and never negative.
            Self::Part(part) => (disk as f64 * part) as u64,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Part(part) => write!(f, "{}%", part * 100.0),
        }
    }
}

/// What the store may take of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// At most this much is kept.
    pub max_size: Option<Limit>,
    /// At least this much of the file system is left to others.
    pub min_free: Option<Limit>,
}

/// Bytes that are on the disk, and bytes that were promised.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Counted at the first question, kept right from then on.
    stored: Option<u64>,
    reserved: u64,
}

impl Usage {
    /// What is on the disk has to be counted again.
    pub(crate) fn forget(&mut self) {
        self.stored = None;
    }
}

/// Bytes that are promised to an ingest; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Store,
    bytes: u64,
}

impl Reservation {
    /// Promises more; where there is no room for it, nothing changes.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.store.make_room(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// What was promised.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut usage = lock(&self.store.0.usage);
        usage.reserved = usage.reserved.saturating_sub(self.bytes);
    }
}

impl Store {
    /// Promises `bytes`, for which room is made where that is needed and possible.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: everything that may go is gone, and it is not enough.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        let mut reservation = Reservation { store: self.clone(), bytes: 0 };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    fn make_room(&self, bytes: u64) -> Result<(), Error> {
        let limits = self.0.limits;
        let mut usage = lock(&self.0.usage);
        if limits != Limits::default() {
            let missing = self.missing(&mut usage, bytes)?;
            if missing > 0 {
                // Not under this lock: what is removed is taken off it.
                drop(usage);
                let freed = self.evict(missing)?;
                usage = lock(&self.0.usage);
                if freed < missing && self.missing(&mut usage, bytes)? > 0 {
                    return Err(Error::NoRoom { wanted: bytes });
                }
            }
        }
        usage.reserved += bytes;
        Ok(())
    }

    /// How many bytes have to go before `bytes` more fit.
    fn missing(&self, usage: &mut Usage, bytes: u64) -> Result<u64, Error> {
        let disk = rustix::fs::statvfs(self.root()).map_err(std::io::Error::from)?;
        let (size, free) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
        let over = |limit: Limit| {
            let stored = *usage.stored.get_or_insert_with(|| count(&self.0.layout));
            (stored + usage.reserved + bytes).saturating_sub(limit.bytes(size))
        };
        let over = self.0.limits.max_size.map_or(0, over);
        // What is reserved for others is off the free bytes already, where the file system can do that.
        // Nothing to be left means no limit: then the disk itself says when it is full.
        let short = |limit: Limit| match limit.bytes(size) {
            0 => 0,
            left => (left + bytes).saturating_sub(free),
        };
        Ok(over.max(self.0.limits.min_free.map_or(0, short)))
    }

    /// Bytes that are kept, quarantine included.
    pub fn size(&self) -> u64 {
        *lock(&self.0.usage).stored.get_or_insert_with(|| count(&self.0.layout))
    }

    /// Bytes by which the store is larger than it may be.
    pub(crate) fn excess(&self) -> Result<u64, Error> {
        self.missing(&mut lock(&self.0.usage), 0)
    }

    pub(crate) fn grown_by(&self, bytes: u64) {
        if let Some(stored) = &mut lock(&self.0.usage).stored {
            *stored += bytes;
        }
    }

    pub(crate) fn shrunk_by(&self, bytes: u64) {
        if let Some(stored) = &mut lock(&self.0.usage).stored {
            *stored = stored.saturating_sub(bytes);
        }
    }
}

/// The bytes of all contents.
fn count(layout: &Layout) -> u64 {
    let files = |dir| fs::read_dir(dir).into_iter().flatten().flatten();
    let directories = layout.contents().into_iter().chain([layout.quarantine()]);
    directories.flat_map(files).filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
