//! The played service's calls: Twirp in JSON.

use std::sync::Mutex;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::entries::{Entry, State};
use super::{BOTH, MAIN, READ, WRITE};

pub(super) const PATH: &str = "/twirp/github.actions.results.api.v1.CacheService/";

/// The scopes that a token may write and read, in the order in which they are asked.
struct Scopes {
    written: Option<String>,
    read: Vec<String>,
}

pub(super) async fn answer(
    state: &Mutex<State>,
    method: &str,
    authorization: &str,
    question: &Value,
) -> Response<Body> {
    let Some(token) = authorization.strip_prefix("Bearer ").filter(|token| !token.is_empty()) else {
        return failure(401, "unauthenticated", "a token is missing");
    };
    let scopes = Scopes::of(token);
    let lock = || state.lock().expect("no panic before");
    if let Some(retry_after) = lock().call(method) {
        let mut refused = failure(429, "resource_exhausted", "rate limit exceeded");
        refused.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
        return refused;
    }
    if let Some((status, words)) = lock().say(method) {
        let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
        return response.body(Body::from(words)).expect("an answer");
    }
    match method {
        "CreateCacheEntry" => create(&mut lock(), &scopes, question),
        "GetCacheEntryDownloadURL" => look_up(&mut lock(), &scopes, question),
        "FinalizeCacheEntryUpload" => {
            let id = match to_finalize(&mut lock(), &scopes, question) {
                Ok(id) => id,
                Err(refused) => return *refused,
            };
            let account = lock().azurite.clone();
            let size = match account {
                Some(account) => account.size(&format!("entry-{id}")).await,
                None => lock().entry(id).and_then(|entry| Some(entry.bytes.as_ref()?.len() as u64)),
            };
            let told = question["size_bytes"].as_str().and_then(|text| text.parse().ok());
            match size.filter(|size| told == Some(*size)) {
                Some(size) => {
                    lock().save(id, size);
                    success(&json!({"ok": true, "entry_id": id.to_string(), "message": ""}))
                }
                None => failure(404, "not_found", "no upload of this size"),
            }
        }
        _ => failure(404, "bad_route", "no such method"),
    }
}

fn create(state: &mut State, scopes: &Scopes, question: &Value) -> Response<Body> {
    let (key, version) = (text(question, "key"), text(question, "version"));
    if key.is_empty() || key.len() > 512 || key.contains(',') {
        return failure(400, "invalid_argument", "the key is not valid");
    }
    let Some(scope) = &scopes.written else {
        let message = "cache write denied: the token is read-only";
        return success(&json!({"ok": false, "signed_upload_url": "", "message": message}));
    };
    if state.entries.iter().any(|entry| entry.is(scope, key, version)) {
        return failure(
            409,
            "already_exists",
            "cache entry with the same key, version, and scope already exists",
        );
    }
    if state.is_full {
        return failure(429, "resource_exhausted", "insufficient usage to create a cache entry");
    }
    let id = state.put(Entry::new(scope, key, version), None);
    success(&json!({"ok": true, "signed_upload_url": state.sign(id, true), "message": ""}))
}

fn look_up(state: &mut State, scopes: &Scopes, question: &Value) -> Response<Body> {
    if scopes.read.is_empty() {
        return failure(403, "permission_denied", "cache read denied: the token has no readable scopes");
    }
    let mut keys = vec![text(question, "key")];
    keys.extend(question["restore_keys"].as_array().into_iter().flatten().filter_map(Value::as_str));
    let found = state.find(&scopes.read, &keys, text(question, "version"));
    match found.map(|entry| (entry.id, entry.key.clone())) {
        None => success(&json!({"ok": false, "signed_download_url": "", "matched_key": ""})),
        Some((id, key)) => {
            let url = state.sign(id, false);
            success(&json!({"ok": true, "signed_download_url": url, "matched_key": key}))
        }
    }
}

/// The reservation that an end of an upload is for.
fn to_finalize(state: &mut State, scopes: &Scopes, question: &Value) -> Result<u64, Box<Response<Body>>> {
    if text(question, "size_bytes") == "0" {
        return Err(Box::new(failure(400, "invalid_argument", "size_bytes must be greater than 0")));
    }
    let scope = scopes.written.as_deref().unwrap_or_default();
    let (key, version) = (text(question, "key"), text(question, "version"));
    let reserved = state.entries.iter().find(|entry| entry.is(scope, key, version) && !entry.is_saved);
    reserved.map(|entry| entry.id).ok_or_else(|| Box::new(failure(404, "not_found", "no such upload")))
}

impl Scopes {
    /// By the claim `ac` of a JWT. Other tokens are the name of a branch, with `:read` behind it where they are read-only.
    fn of(token: &str) -> Self {
        let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
        let named: Option<Vec<Value>> =
            claims.and_then(|claims| serde_json::from_str(claims["ac"].as_str()?).ok());
        let mut scopes: Vec<(String, u64)> = match named {
            Some(named) => named
                .iter()
                .map(|one| (text(one, "Scope").into(), one["Permission"].as_u64().unwrap_or(0)))
                .collect(),
            None => {
                let (branch, may) =
                    token.strip_suffix(":read").map_or((token, BOTH), |branch| (branch, READ));
                let branch = if branch == "main" { MAIN } else { branch };
                vec![(branch.into(), may), (MAIN.into(), READ)]
            }
        };
        // The job's own comes first.
        scopes.sort_by_key(|(_, may)| std::cmp::Reverse(*may));
        let written = scopes.iter().find(|(_, may)| may & WRITE != 0).map(|(scope, _)| scope.clone());
        let read = scopes.into_iter().filter(|(_, may)| may & READ != 0).map(|(scope, _)| scope).collect();
        Self { written, read }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn success(answer: &Value) -> Response<Body> {
    as_json(StatusCode::OK, answer)
}

fn failure(status: u16, code: &str, msg: &str) -> Response<Body> {
    as_json(StatusCode::from_u16(status).expect("a status"), &json!({"code": code, "msg": msg}))
}

fn as_json(status: StatusCode, value: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(value.to_string())).expect("an answer")
}
