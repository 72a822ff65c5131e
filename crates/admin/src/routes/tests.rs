use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use hubcap_cache::{RemovedRules, TagRules, Ttl};
use hubcap_store::{Options, Store};
use hubcap_upstream::Upstreams;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;
use crate::Refusal;
use crate::pull::Line;

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.kind, "application/json");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn refusal(&self) -> String {
        let Refusal { error } = serde_json::from_value(self.json()).expect("a refusal");
        error
    }
}

/// An offline cache in `dir`, and a daemon that serves it.
fn admin(dir: &TempDir) -> Admin {
    let store = Store::open(dir.path(), Options::default()).expect("a store");
    let timeout = Duration::from_secs(1);
    let upstreams = hubcap_upstream::Config { upstreams: Vec::new(), allowed: Vec::new(), timeout };
    let rules = hubcap_cache::Config {
        offline: true,
        tags: TagRules { rules: Vec::new(), default: Ttl::Immutable },
        removed: RemovedRules::default(),
        frozen: None,
        read_ahead: false,
    };
    let daemon = Daemon {
        version: "1.2.3".into(),
        pid: 42,
        started: 1,
        listen: "127.0.0.1:5443".parse().ok(),
        bridges: Vec::new(),
        http_listen: None,
        proxy_listen: None,
        ca: "/state/ca.pem".into(),
        store: dir.path().to_owned(),
        registries: std::collections::BTreeMap::new(),
        allowed: Vec::new(),
        settings: String::new(),
        offline: true,
    };
    Admin { cache: Cache::new(store, Upstreams::new(upstreams).expect("upstreams"), rules), daemon }
}

async fn ask(method: &str, path: &str, body: impl Into<Body>) -> Answer {
    ask_within(Duration::from_secs(10), method, path, body.into()).await
}

async fn ask_within(patience: Duration, method: &str, path: &str, body: Body) -> Answer {
    let dir = TempDir::new().expect("a directory");
    let request = Request::builder().method(method).uri(path).body(body).expect("a request");
    let answer = router(admin(&dir), patience).oneshot(request).await.expect("an answer");
    let kind = answer.headers()[http::header::CONTENT_TYPE].to_str().expect("a media type").to_owned();
    let status = answer.status();
    Answer { status, kind, body: answer.into_body().collect().await.expect("a body").to_bytes() }
}

#[tokio::test]
async fn health_answers() {
    let answer = ask("GET", "/health", Body::empty()).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "healthy": true })));
}

#[tokio::test]
async fn the_status_has_the_daemon_and_its_meter() {
    let answer = ask("GET", "/status", Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let json = answer.json();
    assert_eq!(json["daemon"]["pid"], 42);
    assert_eq!(json["daemon"]["listen"], "127.0.0.1:5443");
    assert_eq!(json["daemon"]["http-listen"], Value::Null);
    assert_eq!(json["daemon"]["offline"], true);
    assert_eq!(json["restoring"], false);
    assert!(json["meter"].is_object());
    serde_json::from_value::<Status>(json).expect("what the client reads");
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let answer = ask("GET", "/metrics", Body::empty()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.refusal(), "there is no /metrics");
}

#[tokio::test]
async fn a_wrong_method_is_not_allowed() {
    let answer = ask("GET", "/pull", Body::empty()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.refusal(), "/pull does not allow GET");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let answer = ask("POST", "/pull", vec![b' '; MAX_BODY + 1]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!answer.refusal().is_empty());
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused_in_time() {
    let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = ask_within(Duration::from_millis(50), "POST", "/pull", body).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.refusal(), "the request did not arrive in time");
}

#[tokio::test]
async fn a_request_with_an_unknown_field_is_refused() {
    let answer = ask("POST", "/pull", r#"{"images":[],"platforms":[],"force":true}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.refusal().contains("force"), "{}", answer.refusal());
}

#[tokio::test]
async fn an_image_without_a_valid_name_is_refused() {
    let answer = ask("POST", "/pull", r#"{"images":["A B"],"platforms":[]}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.refusal().is_empty());
}

#[tokio::test]
async fn what_a_repository_is_not_known_to_have_is_missing() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let answer = ask("POST", "/missing", json!({"image": "alpine", "contents": [digest]}).to_string()).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!([digest])));
    let answer = ask("POST", "/missing", r#"{"image":"A B","contents":[]}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_pull_ends_with_the_count_of_failures() {
    let answer = ask("POST", "/pull", r#"{"images":["alpine","busybox"],"platforms":[]}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<Line> = lines.map(|line| serde_json::from_slice(line).expect("a line")).collect();
    assert!(matches!(&lines[..], [Line::Image(_), Line::Image(_), Line::Done(2)]), "{lines:?}");
}
