//! Which ranges of a blob that is being filled come from the registry itself, beside the fill.
//!
//! Any request for a blob that is not stored fills the whole of it, so that the next client finds it here. A client that
//! wants a few parts must not wait until the fill is there: podman's partial pull begins with the end of a layer. But what the
//! fill will bring soon is not asked for twice, and a client that wants all in parts must not double what the registry sends.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hubcap_oci::{ByteRange, Target};
use hubcap_upstream::{Error, RangesBody, RegistryBlob};

use crate::fill::asked::Asked;
use crate::meter::{Meter, TransferGuard};

/// What begins less than this many bytes ahead of the fill is waited for.
const NEAR: u64 = 8 << 20;
/// Ranges of one request: some servers read no more than 8 KiB of headers.
const MAX_RANGES: usize = 250;

/// The registry beside a fill, for one request.
pub(crate) struct Beside {
    pub(crate) blob: RegistryBlob,
    pub(crate) asked: Asked,
    pub(crate) size: u64,
    pub(crate) meter: Arc<Meter>,
    pub(crate) target: Target,
}

/// Ranges that come from the registry.
pub(crate) struct Fetched {
    body: RangesBody,
    transfer: TransferGuard,
}

impl Beside {
    /// Asks for the first of `parts`, and for those behind it as far as they are worth it as well; `None` when the first is not,
    /// and the fill is to be waited for.
    ///
    /// # Errors
    /// The registry's, after which the fill is to be waited for.
    pub(crate) async fn fetch(
        &self,
        parts: &VecDeque<Range<u64>>,
        available: u64,
    ) -> Result<Option<Fetched>, Error> {
        let mut worth = far(parts, available);
        while !worth.is_empty() && !self.asked.add(length(&worth), self.size) {
            worth.truncate(worth.len() / 2);
        }
        if worth.is_empty() {
            return Ok(None);
        }
        let range = |part: &Range<u64>| ByteRange { start: part.start, end: part.end, size: self.size };
        let ranges: Vec<ByteRange> = worth.iter().map(range).collect();
        let transfer = self.meter.transfer(&self.target);
        Ok(Some(Fetched { body: self.blob.ranges(&ranges).await?, transfer }))
    }
}

impl Fetched {
    /// The next bytes, all of one part; `None` behind the last one.
    ///
    /// # Errors
    /// The registry's, after which the fill is to be waited for.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.body.chunk().await?;
        self.transfer.fetched(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64), 0);
        Ok(chunk)
    }
}

/// The parts from the first on that begin far ahead of the `available` bytes.
fn far(parts: &VecDeque<Range<u64>>, available: u64) -> Vec<Range<u64>> {
    let is_far = |part: &&Range<u64>| part.start >= available.saturating_add(NEAR);
    parts.iter().take_while(is_far).take(MAX_RANGES).cloned().collect()
}

fn length(parts: &[Range<u64>]) -> u64 {
    parts.iter().map(|part| part.end - part.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn mib<const N: usize>(parts: [(u64, u64); N]) -> VecDeque<Range<u64>> {
        parts.map(|(start, end)| start * MIB..end * MIB).into()
    }

    #[test]
    fn what_the_fill_brings_soon_is_waited_for() {
        assert!(far(&mib([(0, 1)]), 0).is_empty());
        assert!(far(&mib([(27, 28)]), 20 * MIB).is_empty());
        assert_eq!(mib([(28, 29)]), far(&mib([(28, 29)]), 20 * MIB));
    }

    #[test]
    fn a_part_that_the_fill_brings_soon_ends_what_is_asked_for_at_once() {
        let parts = mib([(90, 91), (50, 51), (5, 6), (60, 61)]);
        assert_eq!(mib([(90, 91), (50, 51)]), far(&parts, 0));
    }

    #[test]
    fn a_request_names_so_many_ranges_at_most() {
        let parts: VecDeque<_> = (0..1024).map(|at| NEAR + at * 10..NEAR + at * 10 + 1).collect();
        assert_eq!(far(&parts, 0).len(), MAX_RANGES);
    }
}
