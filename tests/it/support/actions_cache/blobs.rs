//! The played blob store: of Azure's REST interface what uploads and ranged reads need.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use hubcap_oci::{RangeRequest, Selection};

use super::Reads;
use super::entries::{Entry, State};

/// When everything was written.
const MODIFIED: &str = "Thu, 26 Nov 2026 00:00:00 GMT";

/// What was asked, of which entry, and the answer.
pub(super) fn answer(
    state: &mut State,
    asked: &Parts,
    range: Option<&str>,
    body: &Bytes,
) -> (String, String, Response<Body>) {
    let query = asked.uri.query().unwrap_or_default();
    let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let comp = value("comp");
    let what = comp.map_or_else(|| asked.method.to_string(), |comp| format!("{} {comp}", asked.method));
    let failed = state.failures.pop_front();
    let reads = state.reads;
    let (cut, rate) = (state.cuts.front().copied(), state.rate);
    let signed = value("sig").and_then(|signature| state.signed(signature));
    let Some(signed) = signed else {
        return (what, String::new(), error(403, "AuthenticationFailed"));
    };
    let is_write = asked.method == Method::PUT;
    let Some(entry) = state.entry(signed.entry) else {
        return (what, String::new(), error(404, "BlobNotFound"));
    };
    let key = entry.key.clone();
    let answer = if let Some(status) = failed {
        error(status, "InternalError")
    } else if is_write != signed.is_for_writing {
        error(403, "AuthorizationPermissionMismatch")
    } else if !is_write && let Reads::Fail(status) = reads {
        error(status, "InvalidRange")
    } else if !is_write && reads == Reads::Elsewhere {
        let elsewhere = Response::builder().status(302).header(header::LOCATION, "http://127.0.0.1:9/");
        elsewhere.body(Body::empty()).expect("an answer")
    } else if !is_write {
        let range = range.filter(|_| reads != Reads::Whole);
        let answer = read(entry, range, cut, rate);
        if answer.status().is_success() {
            state.cuts.pop_front();
        }
        answer
    } else {
        match comp {
            Some("block") => put_block(entry, value("blockid").unwrap_or_default(), body),
            Some("blocklist") => put_list(entry, body),
            _ if asked.headers.get("x-ms-blob-type").is_some_and(|kind| kind == "BlockBlob") => {
                entry.bytes = Some(body.clone());
                created()
            }
            _ => error(400, "MissingRequiredHeader"),
        }
    };
    (what, key, answer)
}

/// A GET or a HEAD, whose body hyper leaves away.
fn read(entry: &Entry, range: Option<&str>, cut: Option<u64>, rate: Option<u64>) -> Response<Body> {
    let Some(bytes) = entry.bytes.clone() else { return error(404, "BlobNotFound") };
    let size = bytes.len() as u64;
    let response = Response::builder()
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"0x{}\"", entry.id))
        .header(header::LAST_MODIFIED, MODIFIED)
        .header("x-ms-blob-type", "BlockBlob");
    let (response, bytes) = match RangeRequest::parse(range).resolve(size) {
        Err(_) => return error(416, "InvalidRange"),
        Ok(Selection::Range(range)) => {
            let response = response.status(206).header(header::CONTENT_RANGE, range.to_string());
            (response, bytes.slice(range.start as usize..range.end as usize))
        }
        Ok(_) => (response, bytes),
    };
    let response = response.header(header::CONTENT_LENGTH, bytes.len());
    let body = match (cut, rate) {
        (None, None) => Body::from(bytes),
        (None, Some(rate)) => Body::from_stream(slowly(bytes, rate)),
        (Some(after), _) => {
            let sent = bytes.slice(..bytes.len().min(after as usize));
            let broken = std::io::Error::other("the connection breaks");
            Body::from_stream(stream::iter([Ok(sent)]).chain(stream::once(async { Err(broken) })))
        }
    };
    response.body(body).expect("an answer")
}

/// The bytes in steps of a twentieth of a second.
fn slowly(bytes: Bytes, rate: u64) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let step = left.split_to(left.len().min(rate as usize / 20));
        Some((Ok(step), left))
    })
}

fn put_block(entry: &mut Entry, name: &str, bytes: &Bytes) -> Response<Body> {
    let is_name = STANDARD.decode(name).is_ok_and(|name| (1..=64).contains(&name.len()));
    if !is_name || entry.blocks.keys().any(|other| other.len() != name.len()) {
        return error(400, "InvalidBlobOrBlock");
    }
    entry.blocks.insert(name.into(), bytes.clone());
    created()
}

fn put_list(entry: &mut Entry, list: &Bytes) -> Response<Body> {
    let list = String::from_utf8_lossy(list);
    let mut bytes = BytesMut::new();
    for name in list.split("<Latest>").skip(1) {
        let name = name.split("</Latest>").next().unwrap_or_default();
        let Some(block) = entry.blocks.get(name) else { return error(400, "InvalidBlockList") };
        bytes.extend_from_slice(block);
    }
    entry.bytes = Some(bytes.freeze());
    created()
}

fn created() -> Response<Body> {
    let response = Response::builder().status(StatusCode::CREATED).header(header::ETAG, "\"0x1\"");
    let response = response.header("x-ms-request-id", "1").header(header::LAST_MODIFIED, MODIFIED);
    response.body(Body::empty()).expect("an answer")
}

fn error(status: u16, code: &str) -> Response<Body> {
    let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code></Error>");
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    response.header("x-ms-error-code", code).body(Body::from(body)).expect("an answer")
}
