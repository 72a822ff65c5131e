//! PAX records: what an entry's own header has no room for.

use std::collections::BTreeMap;

use super::header::Header;
use super::number::{Time, decimal};
use crate::error::Error;

/// The map of a sparse file: offsets and lengths, separated by commas.
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// Before the name of an extended attribute.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// The keys of the map in its oldest format, which come in turn, again and again.
const OFFSET: &[u8] = b"GNU.sparse.offset";
const LENGTH: &[u8] = b"GNU.sparse.numbytes";

/// Records by key; the last one of a key counts.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Records of the form "length key=value\n", where the length counts all of that.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Error> {
        let mut records = BTreeMap::new();
        let mut map: Vec<&[u8]> = Vec::new();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(Error::invalid("a PAX record is malformed"))?;
            bytes = rest;
            if key == OFFSET || key == LENGTH {
                let expected = if map.len().is_multiple_of(2) { OFFSET } else { LENGTH };
                if key != expected || value.contains(&b',') {
                    return Err(Error::invalid("the map of a sparse file is out of order"));
                }
                map.push(value);
            } else {
                records.insert(key.to_vec(), value.to_vec());
            }
        }
        if !map.is_empty() {
            records.insert(SPARSE_MAP.to_vec(), map.join(&b','));
        }
        Ok(Self(records))
    }

    /// The value of a key, unless it is empty: that stands for the header's own.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    pub(super) fn merge_into(&mut self, header: &mut Header) -> Result<(), Error> {
        if let Some(path) = self.get(b"path") {
            header.name = path.to_vec();
        }
        if let Some(link) = self.get(b"linkpath") {
            header.link = link.to_vec();
        }
        header.uid = self.number(b"uid")?.unwrap_or(header.uid);
        header.gid = self.number(b"gid")?.unwrap_or(header.gid);
        header.size = self.number(b"size")?.unwrap_or(header.size);
        header.modified = self.time(b"mtime")?.unwrap_or(header.modified);
        header.accessed = self.time(b"atime")?.or(header.accessed);
        self.time(b"ctime")?;
        Ok(())
    }

    /// The extended attributes, also those with an empty value.
    pub(super) fn take_attributes(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let records = std::mem::take(&mut self.0).into_iter();
        records.filter_map(|(key, value)| Some((key.strip_prefix(ATTRIBUTE)?.to_vec(), value))).collect()
    }

    fn number(&self, key: &'static [u8]) -> Result<Option<i64>, Error> {
        let number = |value| decimal(value).ok_or(Error::invalid("the number of a PAX record is none"));
        self.get(key).map(number).transpose()
    }

    fn time(&self, key: &'static [u8]) -> Result<Option<Time>, Error> {
        let time = |value| Time::parse(value).ok_or(Error::invalid("the time of a PAX record is none"));
        self.get(key).map(time).transpose()
    }
}

/// The key and the value of the first record, and what comes after it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length < 5 || length > bytes.len() || length < space + 2 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let (&newline, record) = record[space + 1..].split_last()?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let is_header_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    let without_nul = if is_header_text { value } else { key };
    let is_valid = newline == b'\n' && !key.is_empty() && !without_nul.contains(&0);
    is_valid.then_some((key, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_key_counts() {
        let records = Records::parse(b"9 path=a\n9 path=b\n").expect("parsed");
        assert_eq!(records.get(b"path"), Some(&b"b"[..]));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            "9 path=a",
            "8 path=a\n",
            "x path=a\n",
            "99 path=a\n",
            "9\n",
            "5 ab\n",
            "-9 path=a\n",
            "10 path=a\0\n",
            "3 =\n",
            "5 =x\n",
        ] {
            assert!(Records::parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_attribute_may_have_any_bytes() {
        let mut records = Records::parse(b"25 SCHILY.xattr.a.b=\0\n\n=\n").expect("parsed");
        assert_eq!(records.take_attributes(), [(b"a.b".to_vec(), b"\0\n\n=".to_vec())]);
    }

    #[test]
    fn the_oldest_sparse_format_becomes_the_next_one() {
        let record = |text: &str| format!("{} {text}\n", text.len() + 4);
        let texts = [
            "GNU.sparse.offset=0",
            "GNU.sparse.numbytes=4",
            "GNU.sparse.offset=512",
            "GNU.sparse.numbytes=8",
        ];
        let bytes: String = texts.into_iter().map(record).collect();
        let records = Records::parse(bytes.as_bytes()).expect("parsed");
        assert_eq!(records.get(SPARSE_MAP), Some(&b"0,4,512,8"[..]));
    }
}
