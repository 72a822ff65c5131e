//! How much a store may hold.

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

/// The file system that a store is on, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) size: u64,
    pub(crate) free: u64,
}

impl Limits {
    /// How many bytes there may be for a while of something that is not kept, where `stored` bytes could go.
    pub(crate) fn most(&self, disk: Disk, stored: u64) -> u64 {
        let of_store = self.max_size.map_or(u64::MAX, |limit| limit.bytes(disk.size));
        let left = self.min_free.map_or(0, |limit| limit.bytes(disk.size));
        of_store.min(disk.free.saturating_add(stored).saturating_sub(left)).min(disk.free)
    }

    /// How many bytes have to go before `more` fit, where `kept` are stored or reserved.
    pub(crate) fn excess(&self, disk: Disk, kept: u64, more: u64) -> u64 {
        let over =
            self.max_size.map_or(0, |limit| kept.saturating_add(more).saturating_sub(limit.bytes(disk.size)));
        // What is reserved for others is off the free bytes already, where the file system can do that.
        let short = self.min_free.map_or(0, |limit| match limit.bytes(disk.size) {
            // Nothing to be left means no limit: then the disk itself says when it is full.
            0 => 0,
            left => left.saturating_add(more).saturating_sub(disk.free),
        });
        over.max(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { size: 1000, free: 300 };

    fn excess(max_size: Option<Limit>, min_free: Option<Limit>, kept: u64, more: u64) -> u64 {
        Limits { max_size, min_free }.excess(DISK, kept, more)
    }

    #[test]
    fn without_a_limit_nothing_has_to_go() {
        assert_eq!(excess(None, None, 5000, 5000), 0);
    }

    #[test]
    fn what_is_over_the_largest_size_has_to_go() {
        assert_eq!(excess(Some(Limit::Bytes(500)), None, 400, 100), 0);
        assert_eq!(excess(Some(Limit::Bytes(500)), None, 400, 130), 30);
        assert_eq!(excess(Some(Limit::Part(0.5)), None, 600, 0), 100);
    }

    #[test]
    fn what_others_are_to_have_free_has_to_go() {
        assert_eq!(excess(None, Some(Limit::Bytes(200)), 0, 100), 0);
        assert_eq!(excess(None, Some(Limit::Part(0.4)), 0, 50), 150);
    }

    #[test]
    fn what_is_not_kept_may_have_as_much_as_the_store_and_what_is_free() {
        let most = |max_size, min_free| Limits { max_size, min_free }.most(DISK, 50);
        assert_eq!(most(None, None), 300);
        assert_eq!(most(Some(Limit::Bytes(100)), None), 100);
        assert_eq!(most(Some(Limit::Bytes(100)), Some(Limit::Bytes(270))), 80);
    }

    #[test]
    fn no_length_is_so_large_that_it_fits() {
        for (max_size, min_free) in [(Some(Limit::Bytes(500)), None), (None, Some(Limit::Bytes(200)))] {
            assert!(excess(max_size, min_free, 400, u64::MAX) > 1 << 60);
        }
    }

    #[test]
    fn no_free_bytes_mean_no_limit() {
        assert_eq!(excess(None, Some(Limit::Bytes(0)), 0, 5000), 0);
    }

    #[test]
    fn the_stricter_of_two_limits_counts() {
        assert_eq!(excess(Some(Limit::Bytes(100)), Some(Limit::Bytes(310)), 120, 0), 20);
        assert_eq!(excess(Some(Limit::Bytes(100)), Some(Limit::Bytes(390)), 120, 0), 90);
    }
}
