//! Small documents: manifests and lists. One that breaks off in the middle is asked for once more.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};
use hubcap_oci::manifest::signed_digest;
use hubcap_oci::{ByteRange, Digest, Registry};
use reqwest::Response;
use url::Url;

use crate::body;
use crate::error::Error;

/// A document that breaks off within this time is asked for once more; clients do not wait for longer.
const ONCE_MORE: Duration = Duration::from_secs(5);

/// A document, as it came.
pub(super) struct Document {
    /// Where it was found, behind all redirects.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// Reads a document of a registry, of at most `limit` bytes, and waits for memory for it up to `patience`. `again` asks for it
/// once more.
///
/// # Errors
/// [`Error::Invalid`] for a longer one; [`Error::Unavailable`] for one that breaks off again, or that takes too long.
pub(super) async fn read(
    response: Response,
    registry: &Registry,
    limit: usize,
    patience: Duration,
    again: impl AsyncFnOnce() -> Result<Response, Error>,
) -> Result<Document, Error> {
    let started = Instant::now();
    match read_once(response, registry, limit, patience).await {
        Err(Error::Unavailable { .. }) if started.elapsed() < ONCE_MORE => {
            read_once(again().await?, registry, limit, patience).await
        }
        answered => answered,
    }
}

async fn read_once(
    response: Response,
    registry: &Registry,
    limit: usize,
    patience: Duration,
) -> Result<Document, Error> {
    let (url, headers, status) = (response.url().clone(), response.headers().clone(), response.status());
    let ends_with_connection = ends_with_connection(&response);
    let bytes = body::whole(response, registry.as_str(), limit, patience).await?;
    let told = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = told.and_then(ByteRange::parse_content_range);
    // Proxies send the whole as a 206, too.
    if status == StatusCode::PARTIAL_CONTENT && range.is_some_and(|range| range.length() < range.size) {
        return Err(Error::invalid("a part of a document, which nobody asked for"));
    }
    // White space at the end of a document is no part that its reader would miss.
    if ends_with_connection && told_digest(&headers).is_some_and(|told| !is_of(&told, &bytes)) {
        return Err(Error::unavailable("the connection ended before the document that its digest tells of"));
    }
    Ok(Document { url, headers, bytes })
}

/// Whether the end of the connection is the end of the body (RFC 9112, section 6.3), so that it may have been cut anywhere.
fn ends_with_connection(response: &Response) -> bool {
    response.version() < Version::HTTP_2
        && body::content_length(response).is_none()
        && !response.headers().contains_key(TRANSFER_ENCODING)
}

/// The digest that an answer tells of its content.
pub(super) fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

/// Whether a digest is that of `bytes`, or of what is signed in them.
pub(super) fn is_of(digest: &Digest, bytes: &[u8]) -> bool {
    Digest::of(digest.algorithm(), bytes) == *digest
        || signed_digest(digest.algorithm(), bytes) == Some(*digest)
}
