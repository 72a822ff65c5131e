//! Maps of sparse files, in GNU's three PAX formats.

use super::header::BLOCK;
use super::number::decimal;
use super::pax::{self, Records};
use crate::error::Error;

/// Bytes of a map, at most, as in Go.
const LIMIT: usize = 1 << 20;

/// Data of a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    /// Where in the file it goes.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// 0.0 and 0.1.
    InRecords,
    /// 1.0: before the data.
    InData,
}

/// The format that an entry's records tell, if it has holes. An unknown version is a file without.
pub(super) fn format(records: &Records) -> Option<Format> {
    match (records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")) {
        (Some(b"0"), Some(b"0" | b"1")) => Some(Format::InRecords),
        (Some(b"1"), Some(b"0")) => Some(Format::InData),
        (None, None) => records.get(pax::SPARSE_MAP).map(|_| Format::InRecords),
        _ => None,
    }
}

/// Whether the regions are in order and within a file of `size` bytes.
pub(super) fn is_valid(regions: &[Region], size: u64) -> bool {
    let mut end = 0;
    regions.iter().all(|region| {
        let begins_late_enough = region.offset >= end;
        end = region.offset.saturating_add(region.length);
        begins_late_enough && end <= size
    })
}

/// The map of the formats 0.0 and 0.1.
pub(super) fn from_records(records: &Records) -> Result<Vec<Region>, Error> {
    let count = records.get(b"GNU.sparse.numblocks").and_then(decimal);
    let map = records.get(pax::SPARSE_MAP).unwrap_or_default();
    let numbers: Vec<&[u8]> =
        if map.is_empty() { Vec::new() } else { map.split(|&byte| byte == b',').collect() };
    let count = count.and_then(|count| usize::try_from(count).ok()?.checked_mul(2));
    if count != Some(numbers.len()) {
        return Err(Error::invalid("the map of a sparse file has another length than it says"));
    }
    regions(&numbers)
}

/// The map of the format 1.0, block by block: a count, then an offset and a length for each region, each on a line.
#[derive(Default)]
pub(super) struct MapInData {
    bytes: Vec<u8>,
    lines: usize,
}

impl MapInData {
    /// Takes the next block of the data. Returns the map when it is whole; the rest of that block means nothing.
    pub(super) fn push(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Region>>, Error> {
        self.bytes.extend_from_slice(block);
        if self.bytes.len() > LIMIT {
            return Err(Error::invalid("the map of a sparse file is larger than 1 MiB"));
        }
        self.lines += block.iter().filter(|&&byte| byte == b'\n').count();
        if self.lines == 0 {
            return Ok(None);
        }
        let mut lines = self.bytes.split(|&byte| byte == b'\n');
        let count =
            lines.next().and_then(decimal).and_then(|count| usize::try_from(count).ok()?.checked_mul(2));
        let count = count.ok_or(Error::invalid("the map of a sparse file has no length"))?;
        if self.lines <= count {
            return Ok(None);
        }
        regions(&lines.take(count).collect::<Vec<_>>()).map(Some)
    }
}

fn regions(numbers: &[&[u8]]) -> Result<Vec<Region>, Error> {
    let number = |text: &[u8]| decimal(text).and_then(|number| u64::try_from(number).ok());
    let region = |pair: &[&[u8]]| Some(Region { offset: number(pair[0])?, length: number(pair[1])? });
    let regions: Option<Vec<_>> = numbers.chunks_exact(2).map(region).collect();
    regions.ok_or(Error::invalid("the map of a sparse file has a number that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn region(offset: u64, length: u64) -> Region {
        Region { offset, length }
    }

    #[test]
    fn a_map_in_the_data_may_have_several_blocks() {
        let mut text = "200\n".to_string();
        let expected: Vec<Region> = (0..200).map(|at| region(at * 1000, 10)).collect();
        for region in &expected {
            text += &format!("{}\n{}\n", region.offset, region.length);
        }
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let mut map = MapInData::default();
        let mut blocks = bytes.chunks_exact(BLOCK);
        let found =
            blocks.by_ref().find_map(|block| map.push(block.try_into().expect("a block")).expect("valid"));
        assert_eq!(found, Some(expected));
        assert_eq!(blocks.next(), None);
    }

    #[test]
    fn a_map_without_an_end_is_refused() {
        let mut map = MapInData::default();
        let mut pushed = (0..=LIMIT / BLOCK).map(|_| map.push(&[b'1'; BLOCK]));
        assert!(pushed.any(|result| result.is_err()));
    }

    #[test]
    fn regions_are_in_order_and_within_the_file() {
        for (regions, valid) in [
            (&[][..], true),
            (&[region(0, 4), region(4, 4)], true),
            (&[region(0, 5), region(4, 4)], false),
            (&[region(4, 4), region(0, 4)], false),
            (&[region(5, 4)], false),
            (&[region(8, 0)], true),
            (&[region(1, u64::MAX)], false),
        ] {
            assert_eq!(is_valid(regions, 8), valid, "{regions:?}");
        }
    }
}
