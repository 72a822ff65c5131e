//! Which path is answered by what. Further views of the same state (metrics, a page) are further routes here.

use std::fmt::Display;
use std::time::Duration;

use axum::BoxError;
use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use hubcap_cache::Cache;
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::timeout::TimeoutLayer;

use crate::answer;
use crate::missing;
use crate::pull;
use crate::status::{Daemon, Status};

/// A request is a few images' names; larger bodies are refused.
const MAX_BODY: usize = 1 << 20;

/// How long the end of a job waits for the upload that is under way. One that takes longer is left to a later job at once:
/// every job would be slower by what only a later one gains.
const UPLOADS: Duration = Duration::from_secs(2);

/// What the routes answer from.
#[derive(Clone)]
pub struct Admin {
    /// The cache that is served.
    pub cache: Cache,
    /// The daemon that serves it.
    pub daemon: Daemon,
}

/// `patience` is how long a request's body and the head of its answer may take.
pub(crate) fn router(admin: Admin, patience: Duration) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/requests", get(requests))
        .route("/pull", post(pull))
        .route("/missing", post(missing))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer((HandleErrorLayer::new(timed_out), TimeoutLayer::new(patience)))
        // Whose answer comes when everything is saved.
        .route("/save", post(save))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(admin)
}

async fn health() -> Response<Body> {
    answer::json(StatusCode::OK, &json!({ "healthy": true }))
}

async fn status(State(Admin { cache, daemon }): State<Admin>) -> Response<Body> {
    let status = Status {
        daemon,
        restoring: cache.is_restoring(),
        carried: cache.carried(),
        carried_asked: cache.carried_asked(),
        carry_trouble: cache.carry_trouble(),
        meter: cache.snapshot(),
    };
    answer::json(StatusCode::OK, &status)
}

async fn requests(State(Admin { cache, .. }): State<Admin>) -> Response<Body> {
    answer::json(StatusCode::OK, &cache.requests())
}

async fn pull(
    State(admin): State<Admin>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Refused> {
    let request: pull::Request = parsed(body)?;
    pull::start(admin.cache, &request).map_err(bad_request)
}

async fn missing(
    State(admin): State<Admin>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Refused> {
    let request: missing::Request = parsed(body)?;
    let missing = missing::missing(&admin.cache, &request).map_err(bad_request)?;
    Ok(answer::json(StatusCode::OK, &missing))
}

/// A request that is not understood, and why.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        answer::refuse(self.0, self.1)
    }
}

/// What a request's body says.
fn parsed<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|rejected| Refused(rejected.status(), rejected.body_text()))?;
    serde_json::from_slice(&body).map_err(bad_request)
}

fn bad_request(error: impl Display) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error.to_string())
}

/// Saves what the job adds to its cache service; `null` where there is none.
async fn save(State(admin): State<Admin>) -> Response<Body> {
    answer::json(StatusCode::OK, &admin.cache.save_carried(UPLOADS).await)
}

async fn unknown(uri: Uri) -> Response<Body> {
    answer::refuse(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response<Body> {
    answer::refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not allow {method}", uri.path()))
}

async fn timed_out(_: BoxError) -> Response<Body> {
    answer::refuse(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")
}

#[cfg(test)]
mod tests;
