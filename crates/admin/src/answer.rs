//! JSON as an answer, errors too.

use axum::body::Body;
use http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

/// An answer with `value` as its body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// `{"error": why}`.
pub(crate) fn error(status: StatusCode, why: &str) -> Response<Body> {
    json(status, &json!({ "error": why }))
}
