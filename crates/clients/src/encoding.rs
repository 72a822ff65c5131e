//! How a file of others is encoded. A byte order mark says it, as dockerd reads its `daemon.json`; some editors on Windows
//! write one, and some write UTF-16. hubcap keeps what it finds.

/// An encoding, by the mark that a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// No mark.
    Utf8,
    Utf8WithMark,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    /// The encoding of a file that begins with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        [Self::Utf8WithMark, Self::Utf16Le, Self::Utf16Be]
            .into_iter()
            .find(|one| bytes.starts_with(one.mark()))
            .unwrap_or(Self::Utf8)
    }

    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf8 => b"",
            Self::Utf8WithMark => b"\xef\xbb\xbf",
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
        }
    }

    /// The text of a file, without its mark; `None` for what is no text.
    pub(crate) fn decode(bytes: Vec<u8>) -> Option<String> {
        let encoding = Self::of(&bytes);
        let wide = |unit: fn([u8; 2]) -> u16| {
            let (units, rest) = bytes[2..].as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|two| unit(*two)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        };
        match encoding {
            Self::Utf8 => String::from_utf8(bytes).ok(),
            Self::Utf8WithMark => String::from_utf8(bytes[3..].to_vec()).ok(),
            Self::Utf16Le => wide(u16::from_le_bytes),
            Self::Utf16Be => wide(u16::from_be_bytes),
        }
    }

    /// A file with this text, and its mark.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        let mut bytes = self.mark().to_vec();
        match self {
            Self::Utf8 | Self::Utf8WithMark => bytes.extend_from_slice(text.as_bytes()),
            Self::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_to_the_byte_in_every_encoding() {
        let text = "{\"registry-mirrors\": []}\r\n \u{e9}\u{1f433}";
        for encoding in [Encoding::Utf8, Encoding::Utf8WithMark, Encoding::Utf16Le, Encoding::Utf16Be] {
            let bytes = encoding.encode(text);
            assert_eq!(Encoding::of(&bytes), encoding);
            assert_eq!(Encoding::decode(bytes).as_deref(), Some(text), "{encoding:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_none() {
        for bytes in [&b"\xff"[..], b"\xef\xbb\xbf\xff", b"\xff\xfea", b"\xff\xfe\x00\xd8"] {
            assert_eq!(Encoding::decode(bytes.to_vec()), None, "{bytes:?}");
        }
        assert_eq!(Encoding::decode(Vec::new()).as_deref(), Some(""));
    }
}
