//! Entries of tar archives, byte by byte: also those that no program writes.

/// An entry with its data.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) modified: i64,
    pub(super) device: (u32, u32),
    pub(super) data: Vec<u8>,
    /// PAX records before it.
    pub(super) records: Vec<(String, Vec<u8>)>,
    pub(super) format: Format,
    /// Bytes of its header, whatever belongs there, and where they begin.
    pub(super) raw: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Gnu,
}

/// When all entries were changed that say nothing else.
pub(super) const LONG_AGO: i64 = 1_500_000_000;

impl Entry {
    pub(super) fn new(flag: u8, name: &str) -> Self {
        Self {
            flag,
            name: name.into(),
            link: Vec::new(),
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            owner: (0, 0),
            modified: LONG_AGO,
            device: (0, 0),
            data: Vec::new(),
            records: Vec::new(),
            format: Format::Ustar,
            raw: Vec::new(),
        }
    }

    pub(super) const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(super) const fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub(super) const fn modified(mut self, seconds: i64) -> Self {
        self.modified = seconds;
        self
    }

    pub(super) const fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    pub(super) fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.into(), value.as_ref().into()));
        self
    }

    pub(super) fn raw(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.raw.push((at, bytes.as_ref().into()));
        self
    }

    /// An extended attribute.
    pub(super) fn attribute(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.records.is_empty() {
            let records: Vec<u8> = self.records.iter().flat_map(|(key, value)| record(key, value)).collect();
            bytes.extend(Self { data: records, ..Self::new(b'x', "records") }.bytes());
        }
        bytes.extend(self.header(self.data.len() as u64));
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    /// The header for data of this size, whatever data there is.
    pub(super) fn header(&self, size: u64) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, &number(self.owner.0, 8));
        put(116, &number(self.owner.1, 8));
        put(124, &number(size, 12));
        put(136, &number(self.modified.cast_unsigned(), 12));
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        match self.format {
            Format::V7 => {}
            Format::Ustar => put(257, b"ustar\x0000"),
            Format::Gnu => put(257, b"ustar  \0"),
        }
        if self.format != Format::V7 {
            put(329, format!("{:07o}\0", self.device.0).as_bytes());
            put(337, format!("{:07o}\0", self.device.1).as_bytes());
        }
        for (at, bytes) in &self.raw {
            put(*at, bytes);
        }
        put(148, b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

pub(super) fn file(name: &str, data: impl AsRef<[u8]>) -> Entry {
    Entry { data: data.as_ref().into(), ..Entry::new(b'0', name) }
}

pub(super) fn directory(name: &str) -> Entry {
    Entry::new(b'5', name)
}

pub(super) fn symlink(name: &str, target: &str) -> Entry {
    Entry { link: target.into(), mode: 0o777, ..Entry::new(b'2', name) }
}

pub(super) fn hard_link(name: &str, target: &str) -> Entry {
    Entry { link: target.into(), ..Entry::new(b'1', name) }
}

/// What comes before an entry with a long name, or with `flag` K a long link.
pub(super) fn gnu_long(flag: u8, text: &str) -> Entry {
    let data = [text.as_bytes(), b"\0"].concat();
    Entry { data, ..Entry::new(flag, "././@LongLink") }.format(Format::Gnu)
}

pub(super) fn device(flag: u8, name: &str, major: u32, minor: u32) -> Entry {
    Entry { device: (major, minor), ..Entry::new(flag, name) }
}

/// PAX records for all later entries.
pub(super) fn global(path: &str) -> Entry {
    Entry { data: record("path", path.as_bytes()), ..Entry::new(b'g', "pax_global_header") }
}

/// A whole archive.
pub(super) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}

/// Octal where it fits, else GNU's base 256.
pub(super) fn number(value: u64, length: usize) -> Vec<u8> {
    let text = format!("{value:0width$o}\0", width = length - 1);
    if text.len() == length {
        return text.into_bytes();
    }
    let negative = value.cast_signed() < 0;
    let mut bytes = vec![if negative { 0xff } else { 0 }; length];
    for (at, byte) in value.to_be_bytes().into_iter().rev().zip(bytes.iter_mut().rev()) {
        *byte = at;
    }
    bytes[0] |= 0x80;
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() == length - rest);
    [format!("{} {key}=", length.expect("a length")).as_bytes(), value, b"\n"].concat()
}
