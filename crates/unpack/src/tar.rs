//! Entries of a tar archive and their data, as Go's `archive/tar` reads them: V7, ustar, PAX, GNU and star.
//!
//! containerd reads layers by that package, so what it takes is taken here, and what it refuses is refused. An entry's data
//! comes in pieces of the buffers that the archive arrives in, without a copy.

mod header;
mod number;
mod pax;
mod sparse;

use std::io::BufRead;

use self::header::{BLOCK, Header};
use self::pax::Records;
use crate::error::Error;

pub(crate) use self::number::Time;
pub(crate) use self::sparse::Region;

/// Bytes of a PAX header or a long name, at most; libarchive and Go have the same limit.
const SPECIAL: u64 = 1 << 20;

/// An archive that is being read.
pub(crate) struct Archive<R> {
    source: R,
    /// Bytes of the current entry's data that were not read yet.
    left: u64,
    /// Bytes from the end of the data to the next header.
    padding: usize,
}

/// One entry. Strings are bytes: no encoding is sure.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) name: Vec<u8>,
    /// What a link points at.
    pub(crate) link: Vec<u8>,
    /// Permissions with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    pub(crate) modified: Time,
    pub(crate) accessed: Option<Time>,
    /// A device's major and minor number.
    pub(crate) device: (i64, i64),
    /// Extended attributes by name.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where data is, if the file has holes.
    pub(crate) sparse: Option<Sparse>,
}

/// A file with holes.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// Bytes of the file, holes too.
    pub(crate) size: u64,
    /// Where its data goes, in order.
    pub(crate) regions: Vec<Region>,
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    /// PAX records for all later entries; containerd does not apply them.
    Global,
    /// A type that containerd refuses.
    Other(u8),
}

impl Kind {
    const fn of(flag: u8, name: &[u8]) -> Self {
        match flag {
            // Old archives mark a directory only by its name.
            0 if matches!(name.last(), Some(b'/')) => Self::Directory,
            0 | b'0' => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharacterDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'g' => Self::Global,
            other => Self::Other(other),
        }
    }

    /// Whether no data follows, whatever the header's size says.
    const fn is_only_a_header(self) -> bool {
        !matches!(self, Self::File | Self::Global | Self::Other(_))
    }
}

impl<R: BufRead> Archive<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next entry; none at the end of the archive. What the last one's data had left is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut records = Records::default();
        let mut name = Vec::new();
        let mut link = Vec::new();
        loop {
            let Some(block) = self.next_header()? else { return Ok(None) };
            let header = Header::parse(&block)?;
            self.begin(Kind::of(header.flag, b""), header.size)?;
            match header.flag {
                b'x' => records = Records::parse(&self.special()?)?,
                // The records that came before it are forgotten, as they are in Go.
                b'g' => {
                    let records = Records::parse(&self.special()?)?;
                    return Ok(Some(global(header, &records)));
                }
                // More of its map comes behind this header than its size tells. containerd refuses it as well.
                b'S' => {
                    return Err(Error::invalid(
                        "it has a sparse file in GNU's old format, which layers cannot have",
                    ));
                }
                b'L' => name = header::text(&self.special()?).to_vec(),
                b'K' => link = header::text(&self.special()?).to_vec(),
                _ => return self.entry(header, records, (name, link)).map(Some),
            }
        }
    }

    /// More of the current entry's data; empty at its end. [`Self::consume`] goes on from there.
    pub(crate) fn data(&mut self) -> Result<&[u8], Error> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let buffer = fill(&mut self.source)?;
        if buffer.is_empty() {
            return Err(Error::invalid("it ends in a file's data"));
        }
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&buffer[..length])
    }

    /// Marks `length` bytes as read, of those that [`Self::data`] returned.
    pub(crate) fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.left -= length as u64;
    }

    /// Reads what comes behind the archive's end, to the end of the stream.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        loop {
            let length = fill(&mut self.source)?.len();
            if length == 0 {
                return Ok(());
            }
            self.source.consume(length);
        }
    }

    fn entry(
        &mut self,
        header: Header,
        mut records: Records,
        (name, link): (Vec<u8>, Vec<u8>),
    ) -> Result<Entry, Error> {
        let mut header = header;
        records.merge_into(&mut header)?;
        if !name.is_empty() {
            header.name = name;
        }
        if !link.is_empty() {
            header.link = link;
        }
        let kind = Kind::of(header.flag, &header.name);
        self.begin(kind, header.size)?;
        let sparse = self.sparse(kind, &mut header, &records)?;
        Ok(Entry { attributes: records.take_attributes(), sparse, ..plain(header, kind) })
    }

    /// The map of a sparse file in one of GNU's PAX formats.
    fn sparse(
        &mut self,
        kind: Kind,
        header: &mut Header,
        records: &Records,
    ) -> Result<Option<Sparse>, Error> {
        let Some(format) = sparse::format(records) else { return Ok(None) };
        if let Some(name) = records.get(b"GNU.sparse.name") {
            header.name = name.to_vec();
        }
        if let Some(size) = records.get(b"GNU.sparse.size").or_else(|| records.get(b"GNU.sparse.realsize")) {
            header.size = number::decimal(size).ok_or(Error::invalid("a sparse file's size is no number"))?;
        }
        let regions = match format {
            sparse::Format::InRecords => sparse::from_records(records)?,
            sparse::Format::InData => self.map_in_data()?,
        };
        let size = u64::try_from(header.size).ok();
        match size.filter(|&size| !kind.is_only_a_header() && sparse::is_valid(&regions, size)) {
            Some(size) => Ok(Some(Sparse { size, regions })),
            None => Err(Error::invalid("the map of a sparse file contradicts itself")),
        }
    }

    fn begin(&mut self, kind: Kind, size: i64) -> Result<(), Error> {
        let size = if kind.is_only_a_header() { 0 } else { size };
        self.left = u64::try_from(size).map_err(|_| Error::invalid("a size is negative"))?;
        // Below the block size.
        self.padding = (self.left.wrapping_neg() % BLOCK as u64) as usize;
        Ok(())
    }

    /// Skips to the next header; none at the end: two blocks of zeros, or the end of the stream at a block's border.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        loop {
            let length = self.data()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        let mut block = [0; BLOCK];
        if self.read(self.padding, &mut block)? < std::mem::take(&mut self.padding) {
            return Ok(None);
        }
        for zeros_before in [false, true] {
            match self.read(BLOCK, &mut block)? {
                0 => return Ok(None),
                BLOCK => {}
                _ => return Err(Error::invalid("it ends in a header")),
            }
            if block != [0; BLOCK] {
                if zeros_before {
                    return Err(Error::invalid("a header comes after a block of zeros"));
                }
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn map_in_data(&mut self) -> Result<Vec<Region>, Error> {
        let mut map = sparse::MapInData::default();
        loop {
            let mut block = [0; BLOCK];
            if self.left < BLOCK as u64 || self.read(BLOCK, &mut block)? < BLOCK {
                return Err(Error::invalid("it ends in the map of a sparse file"));
            }
            self.left -= BLOCK as u64;
            if let Some(regions) = map.push(&block)? {
                return Ok(regions);
            }
        }
    }

    /// Reads up to `length` bytes of the stream; fewer only at its end.
    fn read(&mut self, length: usize, block: &mut [u8; BLOCK]) -> Result<usize, Error> {
        let mut done = 0;
        while done < length {
            let buffer = fill(&mut self.source)?;
            let taken = buffer.len().min(length - done);
            if taken == 0 {
                break;
            }
            block[done..done + taken].copy_from_slice(&buffer[..taken]);
            self.source.consume(taken);
            done += taken;
        }
        Ok(done)
    }

    /// The data of an entry that tells something of the next one.
    fn special(&mut self) -> Result<Vec<u8>, Error> {
        if self.left > SPECIAL {
            return Err(Error::invalid("a PAX header or a long name is larger than 1 MiB"));
        }
        let mut all = Vec::new();
        loop {
            let piece = self.data()?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(piece);
            let length = piece.len();
            self.consume(length);
        }
    }
}

fn fill(source: &mut impl BufRead) -> Result<&[u8], Error> {
    source.fill_buf().map_err(Error::Read)
}

fn global(mut header: Header, records: &Records) -> Entry {
    if let Some(path) = records.get(b"path") {
        header.name = path.to_vec();
    }
    plain(header, Kind::Global)
}

fn plain(header: Header, kind: Kind) -> Entry {
    Entry {
        kind,
        name: header.name,
        link: header.link,
        // Twelve bits.
        mode: (header.mode & 0o7777) as u32,
        uid: header.uid,
        gid: header.gid,
        modified: header.modified,
        accessed: header.accessed,
        device: (header.major, header.minor),
        attributes: Vec::new(),
        sparse: None,
    }
}
