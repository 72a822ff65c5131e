//! JSON as an answer, errors too.

use axum::body::Body;
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};

/// An answer with `value` as its body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// The body of every answer whose status is not 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, for people.
    pub error: String,
}

/// A [`Refusal`].
pub(crate) fn refuse(status: StatusCode, why: impl Into<String>) -> Response<Body> {
    json(status, &Refusal { error: why.into() })
}
