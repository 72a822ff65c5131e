//! Content digests: `sha256:<64 hex>` and their like (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::ParseError;

/// The hash algorithms that the clients know: those that the image specification registers, and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, which every registry uses.
    Sha256,
    /// `sha384`, which is not registered, and which every client in Go takes.
    Sha384,
    /// `sha512`, optional in the specification, supported here.
    Sha512,
}

impl Algorithm {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in a digest and in the layout's `blobs/<name>/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the hash in bytes.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The digest of a content: its only name in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash; bytes past `algorithm.hash_len()` are zero.
    hash: [u8; 64],
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut verifier = Verifier::new(algorithm);
        verifier.update(bytes);
        verifier.finish()
    }

    /// A digest from a raw hash; `None` when its length is not the algorithm's.
    pub fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Option<Self> {
        (hash.len() == algorithm.hash_len()).then(|| {
            let mut padded = [0; 64];
            padded[..hash.len()].copy_from_slice(hash);
            Self { algorithm, hash: padded }
        })
    }

    /// From the two parts that a layout's path has: `blobs/<algorithm>/<hex>`.
    pub fn from_parts(algorithm: Algorithm, hex: &str) -> Result<Self, ParseError> {
        let bad = |why| ParseError::new("digest", hex, why);
        if hex.len() != algorithm.hash_len() * 2 {
            return Err(bad("the hash has the wrong length"));
        }
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])
                .zip(nibble(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(|| bad("the hash must be lowercase hexadecimal"))?;
        }
        Ok(Self { algorithm, hash })
    }

    /// Which hash this is.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash: 32, 48 or 64 bytes.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.hash_len()]
    }

    /// The hash as lowercase hexadecimal: the file's name in a layout.
    pub fn hex(&self) -> String {
        self.text().as_str()[PREFIX..].to_owned()
    }

    fn text(&self) -> Text {
        let mut bytes = [0; PREFIX + 128];
        bytes[..PREFIX - 1].copy_from_slice(self.algorithm.name().as_bytes());
        bytes[PREFIX - 1] = b':';
        for (pair, byte) in bytes[PREFIX..].chunks_exact_mut(2).zip(self.hash()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Text { bytes, length: PREFIX + self.algorithm.hash_len() * 2 }
    }
}

/// What stands before the hash: every algorithm's name has six letters.
const PREFIX: usize = "sha256:".len();
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A digest as it is written; most are written into a header or a path, and need no memory of their own.
struct Text {
    bytes: [u8; PREFIX + 128],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// A few bytes of it tell digests apart, and every request looks some up.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.hash[..8]);
    }
}

/// Lowercase only: the specification forbids capitals, and two names for one content would be two files.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |why| ParseError::new("digest", text, why);
        let (name, hex) = text.split_once(':').ok_or_else(|| bad("it has no ':'"))?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| bad("the algorithm must be sha256, sha384 or sha512"))?;
        Self::from_parts(algorithm, hex).map_err(|error| bad(error.why))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running hash. Its state can be cloned, so a fetch that breaks goes on where it was.
#[derive(Clone)]
pub struct Verifier(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Verifier {
    /// An empty hash.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha384 => State::Sha384(Sha384::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes given.
    pub fn finish(self) -> Digest {
        let mut hash = [0; 64];
        let algorithm = match self.0 {
            State::Sha256(state) => {
                hash[..32].copy_from_slice(&state.finalize());
                Algorithm::Sha256
            }
            State::Sha384(state) => {
                hash[..48].copy_from_slice(&state.finalize());
                Algorithm::Sha384
            }
            State::Sha512(state) => {
                hash.copy_from_slice(&state.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, hash }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_content_has_its_known_digest() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
    }

    #[test]
    fn what_the_grammar_forbids_is_refused() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:baddigeststring",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &EMPTY.to_uppercase(),
            &EMPTY.replace("e3", "E3"),
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &EMPTY.replace("sha256", "sha512"),
            "sha256:../../../../etc/passwd",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_digest_reads_back_as_it_was_written(bytes: Vec<u8>, which in 0..Algorithm::ALL.len()) {
            let algorithm = Algorithm::ALL[which];
            let digest = Digest::of(algorithm, &bytes);
            proptest::prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            proptest::prop_assert_eq!(Digest::from_hash(algorithm, digest.hash()), Some(digest));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<Digest>();
        }
    }
}
