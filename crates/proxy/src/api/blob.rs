//! end-2: `GET` and `HEAD /v2/<name>/blobs/<digest>`, with single ranges (RFC 9110, section 14).

use axum::body::Body;
use futures_util::stream;
use http::{Method, StatusCode, header};
use hubcap_cache::{Answer, BlobContent, Cache, Delivery, Outcome, Through};
use hubcap_oci::{ByteRange, Digest, ErrorCode, RangeRequest};

use crate::api::error::{Noun, failed};
use crate::api::{Asked, DIGEST, Reply};

const MEDIA_TYPE: &str = "application/octet-stream";

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, digest: &Digest) -> Reply {
    let head = asked.parts.method == Method::HEAD;
    let body = if head { hubcap_cache::Body::Head } else { hubcap_cache::Body::Get };
    let Answer { value, outcome } = match cache.blob(&asked.access, digest, body).await {
        Ok(answer) => answer,
        Err(failure) => return failed(&failure, Noun::Blob, asked),
    };
    let (size, blob) = match value {
        BlobContent::Size(size) => (size, None),
        // The cache has waited until the size is known.
        BlobContent::Stored(blob) => (blob.content.size().unwrap_or(0), Some(blob)),
        BlobContent::Through(through) => return passed(*through, digest, outcome).for_request(asked),
    };
    let header = asked.parts.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let request = if head { RangeRequest::Whole } else { RangeRequest::parse(header) };
    let reply = match request.resolve(size) {
        Err(_) => unsatisfiable(size, outcome),
        Ok(range) => {
            let (start, end) = range.map_or((0, size), |range| (range.start, range.end));
            let deliver = |blob| stream(cache.deliver(&asked.access, digest, (blob, start..end)));
            found((size, blob.map_or_else(Body::empty, deliver)), range, outcome)
        }
    };
    reply.with(DIGEST, digest.to_string()).with(header::ACCEPT_RANGES, "bytes").for_request(asked)
}

fn found((size, body): (u64, Body), range: Option<ByteRange>, outcome: Outcome) -> Reply {
    match range {
        Some(range) => Reply::new(StatusCode::PARTIAL_CONTENT, outcome)
            .body(MEDIA_TYPE, range.end - range.start, body)
            .with(header::CONTENT_RANGE, range.to_string()),
        None => Reply::new(StatusCode::OK, outcome).body(MEDIA_TYPE, size, body),
    }
}

/// Past the store, and always whole: the range of a body that is not kept is not worth another request.
fn passed(through: Through, digest: &Digest, outcome: Outcome) -> Reply {
    let size = through.size();
    let body = Body::from_stream(stream::try_unfold(through, async |mut through| {
        Ok::<_, hubcap_cache::Error>(through.chunk().await?.map(|chunk| (chunk, through)))
    }));
    Reply::new(StatusCode::OK, outcome).body(MEDIA_TYPE, size, body).with(DIGEST, digest.to_string())
}

fn unsatisfiable(size: u64, outcome: Outcome) -> Reply {
    let message = format!("the range has no byte of the {size} there are");
    Reply::new(StatusCode::RANGE_NOT_SATISFIABLE, outcome)
        .json("application/json", ErrorCode::Unsupported.body(&message, ""))
        .with(header::CONTENT_RANGE, format!("bytes */{size}"))
}

/// The bytes as they can be read. An error in the middle ends the connection: it must never look like the end.
fn stream(delivery: Delivery) -> Body {
    Body::from_stream(stream::try_unfold(delivery, async |mut delivery| {
        Ok::<_, hubcap_cache::Error>(delivery.chunk().await?.map(|chunk| (chunk, delivery)))
    }))
}
