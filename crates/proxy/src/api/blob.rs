//! end-2: `GET` and `HEAD /v2/<name>/blobs/<digest>`, with single ranges (RFC 9110, section 14).

use axum::body::Body;
use futures_util::stream;
use http::{Method, StatusCode, header};
use hubcap_cache::{Answer, Blob, BlobBody, BlobRequest, Cache, Error, Outcome};
use hubcap_oci::{Digest, RangeRequest};

use crate::api::error::{Noun, failed};
use crate::api::{Asked, DIGEST, Reply};

const MEDIA_TYPE: &str = "application/octet-stream";

pub(crate) async fn answer(cache: &Cache, asked: &Asked<'_>, digest: &Digest) -> Reply {
    let request = if asked.parts.method == Method::HEAD {
        BlobRequest::Head
    } else {
        let range = asked.parts.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        BlobRequest::Get(RangeRequest::parse(range))
    };
    let (reply, outcome) = match cache.blob(&asked.access, digest, request).await {
        Ok(Answer { value, outcome }) => (found(value, outcome), outcome),
        Err(failure) => {
            let reply = failed(&failure, Noun::Blob, asked);
            let Error::UnsatisfiableRange { size } = failure.error else { return reply };
            (reply.with(header::CONTENT_RANGE, format!("bytes */{size}")), failure.outcome)
        }
    };
    let reply = reply.with(DIGEST, digest.to_string());
    // What is not stored is always whole.
    if outcome == Outcome::Bypass { reply } else { reply.with(header::ACCEPT_RANGES, "bytes") }
}

fn found(Blob { size, range, body }: Blob, outcome: Outcome) -> Reply {
    match range {
        Some(range) => Reply::new(StatusCode::PARTIAL_CONTENT, outcome)
            .body(MEDIA_TYPE, range.end - range.start, stream(body))
            .with(header::CONTENT_RANGE, range.to_string()),
        None => Reply::new(StatusCode::OK, outcome).body(MEDIA_TYPE, size, stream(body)),
    }
}

/// The bytes as they can be read. An error in the middle ends the connection: it must never look like the end.
fn stream(body: BlobBody) -> Body {
    Body::from_stream(stream::try_unfold(body, async |mut body| {
        Ok::<_, Error>(body.chunk().await?.map(|chunk| (chunk, body)))
    }))
}
