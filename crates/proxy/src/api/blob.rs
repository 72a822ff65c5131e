//! end-2: `GET` and `HEAD /v2/<name>/blobs/<digest>`, with ranges (RFC 9110, section 14).

use axum::body::Body;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hubcap_cache::{Answer, Blob, BlobBody, BlobRequest, Cache, Error, Outcome};
use hubcap_oci::{ByteRange, Digest, RangeRequest, Selection};

use crate::api::error::{failed, untold_end};
use crate::api::multipart::Multipart;
use crate::api::{Asked, DIGEST, Reply};

const MEDIA_TYPE: &str = "application/octet-stream";

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, digest: &Digest) -> Reply {
    let request = if asked.parts.method == Method::HEAD {
        BlobRequest::Head
    } else {
        BlobRequest::Get(range_request(&asked.parts.headers, digest))
    };
    let is_get = asked.parts.method == Method::GET;
    let (reply, outcome) = match cache.blob(&asked.access, digest, request).await {
        Ok(Answer { value: Blob { size: None, .. }, .. })
            if is_get && asked.parts.version < Version::HTTP_11 =>
        {
            return untold_end(asked);
        }
        Ok(Answer { value, outcome }) => (found(value, digest, outcome), outcome),
        Err(failure) => {
            let reply = failed(&failure, asked);
            let Error::UnsatisfiableRange { size } = failure.error else { return reply };
            (reply.with(header::CONTENT_RANGE, format!("bytes */{size}")), failure.outcome)
        }
    };
    let reply = reply.with(DIGEST, digest.to_string());
    // What is not stored is always whole.
    if outcome == Outcome::Bypass { reply } else { reply.with(header::ACCEPT_RANGES, "bytes") }
}

/// The ranges that are asked for. `If-Range` makes them hold for one content only, which its entity tag names: a blob's is its
/// digest, as distribution has it.
fn range_request(headers: &HeaderMap, digest: &Digest) -> RangeRequest {
    let is_of_other = |tag: &HeaderValue| tag.as_bytes() != format!("\"{digest}\"").as_bytes();
    if headers.get(header::IF_RANGE).is_some_and(is_of_other) {
        return RangeRequest::Whole;
    }
    RangeRequest::parse(headers.get(header::RANGE).and_then(|value| value.to_str().ok()))
}

fn found(Blob { size, selection, body }: Blob, digest: &Digest, outcome: Outcome) -> Reply {
    match selection {
        Selection::Whole => Reply::new(StatusCode::OK, outcome).body(MEDIA_TYPE, size, stream(body)),
        Selection::Range(range) => Reply::new(StatusCode::PARTIAL_CONTENT, outcome)
            .body(MEDIA_TYPE, range.length(), stream(body))
            .with(header::CONTENT_RANGE, range.to_string()),
        Selection::Ranges(ranges) => parts(ranges, body, digest, outcome),
    }
}

/// Several ranges.
fn parts(ranges: Vec<ByteRange>, body: BlobBody, digest: &Digest, outcome: Outcome) -> Reply {
    let multipart = Multipart::new(ranges, MEDIA_TYPE, digest);
    let (media_type, length) = (multipart.media_type(), multipart.length());
    let stream = stream::try_unfold((multipart, body), async |(mut multipart, mut body)| {
        Ok::<_, Error>(multipart.chunk(&mut body).await?.map(|chunk| (chunk, (multipart, body))))
    });
    Reply::new(StatusCode::PARTIAL_CONTENT, outcome).body(&media_type, length, Body::from_stream(stream))
}

/// The bytes as they can be read. An error in the middle ends the connection: it must never look like the end.
pub(crate) fn stream(body: BlobBody) -> Body {
    Body::from_stream(stream::try_unfold(body, async |mut body| {
        Ok::<_, Error>(body.chunk().await?.map(|chunk| (chunk, body)))
    }))
}
