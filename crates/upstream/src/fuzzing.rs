//! The parsers of what an upstream sends, for `fuzz/` alone.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use hubcap_oci::ByteRange;
use reqwest::Response;
use url::Url;

use crate::actions_cache::answer::{Answer, Failure, SignedUrl};
use crate::auth::answer::Answer as TokenAnswer;
use crate::auth::challenge::challenges;
use crate::byteranges::RangesBody;
use crate::coding::{Codings, Decoded, Decoder, STEP};
use crate::fetch::limit::ConnectionLimit;
use crate::link;
use crate::ratelimit::{self, RateLimit};
use crate::redirect;
use crate::registry::tags;

/// Reads bytes as every header that is read.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    for name in ["link", "ratelimit-limit", "ratelimit-remaining", "retry-after"] {
        headers.insert(name, value.clone());
    }
    headers.insert(header::WWW_AUTHENTICATE, value.clone());
    headers.insert(header::CONTENT_ENCODING, value.clone());
    headers.insert(header::TRANSFER_ENCODING, value.clone());
    if let Ok(asked) = "https://registry.example/v2/a/tags/list?n=2".parse() {
        let _ = challenges(&headers, &asked);
        if let Some(place) =
            link::next(&headers, &asked, "tags", "list").as_ref().and_then(|page| page.place())
        {
            assert!(!place.split('/').any(|part| matches!(part, "." | "..")), "{place}");
        }
        if let Some(url) = redirect::target(&asked, &value) {
            assert!(url.fragment().is_none(), "{url}");
        }
    }
    let _ = RateLimit::read(&headers);
    let _ = ratelimit::retry_after(&headers);
    let _ = Codings::read(&headers);
}

/// Reads bytes as every small document that is read: a token, a list of tags, the answers of GitHub's cache service.
pub fn documents(bytes: &[u8]) {
    let _ = TokenAnswer::read(bytes);
    let _ = tags::read(bytes);
    let failure = Failure::read(bytes);
    let _ = (failure.is_denial(), failure.is_of_space(), failure.is_of_key());
    let Ok(answer) = Answer::read(bytes) else { return };
    let Ok(service) = Url::parse("https://results.example/") else { return };
    for text in [answer.signed_download_url.as_str(), answer.signed_upload_url.as_str()] {
        if let Ok(url) = SignedUrl::read(text, &service) {
            assert_eq!(url.expose().scheme(), "https");
        }
    }
}

/// Unpacks a body that is packed as `codings` say, in pieces of this length; it must be what comes out of it at once.
pub fn packed(codings: &str, bytes: &[u8], piece: usize) {
    let Ok(value) = HeaderValue::from_str(codings) else { return };
    let codings = || Codings::read(&HeaderMap::from_iter([(header::CONTENT_ENCODING, value.clone())]));
    let (whole, pieces) =
        (unpacked(codings(), std::iter::once(bytes)), unpacked(codings(), bytes.chunks(piece.max(1))));
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
    let _ = codings().unpack(Bytes::copy_from_slice(bytes), 1 << 20);
}

/// What comes out, up to a limit: what a few bytes unpack to may have no end. `None` for what is not packed so.
fn unpacked<'a>(codings: Codings, mut pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    const LIMIT: usize = 16 * STEP;
    let (mut decoder, mut unpacked) = (Decoder::new(codings), Vec::new());
    while unpacked.len() < LIMIT {
        match decoder.take().ok()? {
            Decoded::Bytes(bytes) => {
                assert!(bytes.len() <= STEP && !bytes.is_empty());
                unpacked.extend_from_slice(&bytes);
            }
            Decoded::NeedsMore => match pieces.next() {
                Some(piece) => decoder.give(Bytes::copy_from_slice(piece)),
                None => decoder.end(),
            },
            Decoded::End => break,
        }
    }
    unpacked.truncate(LIMIT);
    Some(unpacked)
}

/// Reads a body as the answer to a request for these ranges, in pieces of this length. What it gives out are the bytes of the ranges.
pub fn ranges(content_type: &str, content_range: &str, body: &[u8], piece: usize) {
    let asked = [(0, 3), (5, 8)].map(|(start, end)| ByteRange { start, end, size: 20 });
    let pieces: Vec<_> =
        body.chunks(piece.max(1)).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let answer = http::Response::builder().status(206);
    let answer = answer.header("content-type", content_type).header("content-range", content_range);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let (Ok(answer), Some(permits)) = (answer.body(body), ConnectionLimit::new().try_acquire()) else {
        return;
    };
    let Ok(mut body) = RangesBody::new(Response::from(answer), asked, permits) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let mut length = 0;
        while let Ok(Some(bytes)) = body.chunk().await {
            assert!(!bytes.is_empty());
            length += bytes.len();
            assert!(length <= 6, "{length} bytes of 6");
        }
    });
}
