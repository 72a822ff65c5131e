//! Content codings (RFC 9110, section 8.4) and transfer codings of an answer. hubcap asks for none; some proxies and content
//! networks pack a body all the same, and some say "gzip" of a layer that is a gzip file by itself.
//!
//! What a decoder gives out is bounded, however much is packed into a few bytes: at most [`STEP`] at a time.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use tokio::sync::mpsc;

use crate::error::Error;

/// What is unpacked at once at most, in bytes.
pub(crate) const STEP: usize = 64 << 10;
/// How often a body may be packed. Who needs more wants to keep us busy.
const MAX_CODINGS: usize = 3;

/// A way to pack a body that clients of registries know, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// zlib's format; some send the bare deflate stream under this name.
    Deflate,
    Zstd,
}

impl Coding {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether bytes that begin so may be packed in this way. A body can be called gzip and be none.
    fn may_begin(self, start: &[u8]) -> bool {
        let magic: &[u8] = match self {
            Self::Gzip => b"\x1f\x8b",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Deflate => return true,
        };
        let length = magic.len().min(start.len());
        start[..length] == magic[..length]
    }
}

/// How an answer says that its body is packed, the outermost coding last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Codings {
    codings: Vec<Coding>,
    /// Whether the connection, and not the content, is packed: then unpacking is no question.
    of_transfer: bool,
}

impl Codings {
    /// Reads the headers. A coding that is not known makes it none: the digest will say what the body is.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let names = |header| {
            let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
            let names = values.flat_map(|value| value.split(',')).map(str::trim);
            names.filter(|name| !matches!(name.to_ascii_lowercase().as_str(), "" | "identity" | "chunked"))
        };
        let content = names(header::CONTENT_ENCODING).map(Coding::named);
        let transfer: Vec<_> = names(header::TRANSFER_ENCODING).map(Coding::named).collect();
        let of_transfer = !transfer.is_empty();
        let codings: Option<Vec<Coding>> = content.chain(transfer).collect();
        match codings {
            Some(codings) if codings.len() <= MAX_CODINGS => Self { codings, of_transfer },
            _ => Self::default(),
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.codings.is_empty()
    }

    pub(crate) const fn is_of_transfer(&self) -> bool {
        self.of_transfer
    }

    /// A document of at most `limit` bytes as it was before it was packed; as it came, where it is not packed after all.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is longer.
    pub(crate) fn unpack(self, packed: Bytes, limit: usize) -> Result<Bytes, Error> {
        if self.is_none() {
            return Ok(packed);
        }
        let mut decoder = Decoder::new(self);
        decoder.give(packed.clone());
        decoder.end();
        let mut unpacked = BytesMut::new();
        loop {
            match decoder.take() {
                Ok(Decoded::Bytes(bytes)) => unpacked.extend_from_slice(&bytes),
                Ok(Decoded::NeedsMore | Decoded::End) => return Ok(unpacked.freeze()),
                Err(_) => return Ok(packed),
            }
            if unpacked.len() > limit {
                return Err(Error::invalid(format!("a document of more than {limit} bytes")));
            }
        }
    }
}

/// What a decoder has.
#[derive(Debug)]
pub(crate) enum Decoded {
    Bytes(Bytes),
    /// Nothing before it is given more.
    NeedsMore,
    End,
}

/// Unpacks a body piece by piece.
pub(crate) struct Decoder {
    codings: Vec<Coding>,
    /// Gone at the end of what is packed.
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    state: State,
}

enum State {
    /// Nothing has come.
    Waiting(Input),
    Unpacking(Box<dyn Read + Send + Sync>),
    /// It is not packed, whatever was said.
    AsItCame(Input),
    Ended,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoder").field(&self.codings).finish()
    }
}

impl Decoder {
    pub(crate) fn new(codings: Codings) -> Self {
        let (sender, pieces) = mpsc::unbounded_channel();
        let input = Input { piece: Bytes::new(), pieces };
        Self { codings: codings.codings, pieces: Some(sender), state: State::Waiting(input) }
    }

    /// Gives it the next packed bytes. Whoever has these takes what becomes of them before giving more.
    pub(crate) fn give(&mut self, packed: Bytes) {
        if packed.is_empty() {
            return;
        }
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Waiting(input) => match self.codings.last() {
                Some(outermost) if outermost.may_begin(&packed) => {
                    State::Unpacking(self.reader(input, packed[0]))
                }
                _ => State::AsItCame(input),
            },
            other => other,
        };
        if let Some(pieces) = &self.pieces {
            // Nobody is there after the end.
            let _ = pieces.send(packed);
        }
    }

    /// No more packed bytes will come.
    pub(crate) fn end(&mut self) {
        self.pieces = None;
    }

    /// The next bytes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for what ends too early, [`Error::Invalid`] for what is not packed as it was said to be.
    pub(crate) fn take(&mut self) -> Result<Decoded, Error> {
        let mut buffer = BytesMut::zeroed(STEP);
        let read = match &mut self.state {
            State::Waiting(_) if self.pieces.is_some() => return Ok(Decoded::NeedsMore),
            State::Waiting(_) | State::Ended => return Ok(Decoded::End),
            State::AsItCame(input) => input.read(&mut buffer),
            State::Unpacking(reader) => reader.read(&mut buffer),
        };
        match read {
            Ok(0) => {
                self.state = State::Ended;
                Ok(Decoded::End)
            }
            Ok(length) => {
                buffer.truncate(length);
                Ok(Decoded::Bytes(buffer.freeze()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Decoded::NeedsMore),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(Error::unavailable("the packed body ended early"))
            }
            Err(error) => Err(Error::invalid(format!("the body is not packed as it is said to be: {error}"))),
        }
    }

    fn reader(&self, input: Input, first: u8) -> Box<dyn Read + Send + Sync> {
        let mut outermost_first = self.codings.iter().rev();
        let mut reader = match outermost_first.next() {
            // The method of zlib's header is 8, which no bare stream begins with.
            Some(Coding::Deflate) if first & 0xf != 8 => Box::new(DeflateDecoder::new(input)),
            Some(coding) => unpacking(*coding, input),
            None => Box::new(input),
        };
        for coding in outermost_first {
            reader = unpacking(*coding, BufReader::new(reader));
        }
        reader
    }
}

fn unpacking<R: BufRead + Send + Sync + 'static>(coding: Coding, packed: R) -> Box<dyn Read + Send + Sync> {
    match coding {
        Coding::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Coding::Deflate => Box::new(ZlibDecoder::new(packed)),
        Coding::Zstd => match zstd::stream::read::Decoder::with_buffer(packed) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => Box::new(Refusing(error.kind())),
        },
    }
}

/// A decoder for which there is no memory.
struct Refusing(ErrorKind);

impl Read for Refusing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
}

/// The packed bytes, as far as they have come: [`ErrorKind::WouldBlock`] before more come.
struct Input {
    piece: Bytes,
    pieces: mpsc::UnboundedReceiver<Bytes>,
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() {
            match self.pieces.try_recv() {
                Ok(piece) => self.piece = piece,
                Err(mpsc::error::TryRecvError::Empty) => return Err(ErrorKind::WouldBlock.into()),
                Err(mpsc::error::TryRecvError::Disconnected) => {}
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn content() -> Vec<u8> {
        (0..40_000_u32).flat_map(|number| (number * 7).to_le_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("packed");
        encoder.finish().expect("packed")
    }

    fn codings(content: &'static str, transfer: &'static str) -> Codings {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(content));
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static(transfer));
        Codings::read(&headers)
    }

    /// Given piece by piece, as it comes from a network.
    fn decoded(codings: Codings, packed: &[u8]) -> Result<Vec<u8>, Error> {
        let (mut decoder, mut unpacked) = (Decoder::new(codings), Vec::new());
        let mut pieces = packed.chunks(7);
        loop {
            match decoder.take()? {
                Decoded::Bytes(bytes) => {
                    assert!(bytes.len() <= STEP);
                    unpacked.extend_from_slice(&bytes);
                }
                Decoded::NeedsMore => match pieces.next() {
                    Some(piece) => decoder.give(Bytes::copy_from_slice(piece)),
                    None => decoder.end(),
                },
                Decoded::End => return Ok(unpacked),
            }
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_whichever_way() {
        let content = content();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&content).expect("packed");
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(&content).expect("packed");
        let zstd = zstd::encode_all(content.as_slice(), 1).expect("packed");
        let halves = [gzip(&content[..1000]), gzip(&content[1000..])].concat();
        for (name, packed) in [
            ("gzip", gzip(&content)),
            ("X-GZip", halves),
            ("deflate", zlib.finish().expect("packed")),
            ("deflate", bare.finish().expect("packed")),
            ("zstd", zstd.clone()),
            ("zstd, gzip", gzip(&zstd)),
            ("identity", content.clone()),
        ] {
            assert!(decoded(codings(name, "chunked"), &packed) == Ok(content.clone()), "{name}");
        }
        assert!(decoded(codings("", "gzip, chunked"), &gzip(&content)) == Ok(content));
    }

    #[test]
    fn what_is_only_said_to_be_packed_comes_as_it_is() {
        for name in ["gzip", "zstd"] {
            assert_eq!(decoded(codings(name, ""), b"{}").as_deref(), Ok(b"{}".as_slice()), "{name}");
        }
        assert!(codings("br", "").is_none() && codings("gzip, gzip, gzip, gzip", "").is_none());
        let document = Bytes::from_static(b"\x1f\x8b, and then nothing of gzip's");
        assert_eq!(codings("gzip", "").unpack(document.clone(), 100), Ok(document));
        assert_eq!(decoded(codings("gzip", ""), b"").as_deref(), Ok(b"".as_slice()));
    }

    #[test]
    fn what_ends_early_is_the_connections_fault_and_what_is_garbled_the_origins() {
        let packed = gzip(&content());
        let cut = decoded(codings("gzip", ""), &packed[..packed.len() / 2]);
        assert!(matches!(cut, Err(Error::Unavailable { .. })), "{cut:?}");
        let mut garbled = packed;
        let at = garbled.len() - 6;
        garbled[at] ^= 1;
        let garbled = decoded(codings("gzip", ""), &garbled);
        assert!(matches!(garbled, Err(Error::Invalid { .. })), "{garbled:?}");
    }

    #[test]
    fn a_document_is_no_longer_than_its_limit_however_small_it_is_packed() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let unpacked = codings("gzip", "").unpack(bomb.into(), 1 << 20);
        assert!(matches!(unpacked, Err(Error::Invalid { .. })));
    }
}
