//! A registry that behaves as Docker Hub does: tokens from another host, blobs from a third, and any fault that a
//! test asks for. It keeps a log of what it was asked.

mod fault;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hubcap_oci::{ByteRange, RangeRequest};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::image::sha256;

pub(crate) use fault::{Fault, Parts};

/// One request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) host: Role,
    pub(crate) method: Method,
    /// With its query.
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

/// Which of its hosts a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Registry,
    Token,
    Cdn,
}

#[derive(Default)]
struct State {
    blobs: HashMap<String, Bytes>,
    /// By repository and reference: media type and bytes.
    manifests: HashMap<(String, String), (String, Bytes)>,
    referrers: HashMap<String, serde_json::Value>,
    faults: Vec<(String, Fault)>,
    log: Vec<Asked>,
    /// The login that the token service wants; `Some(None)` gives tokens to everybody.
    tokens: Option<Option<String>>,
    tokens_given: u32,
    /// Tokens up to this number are refused.
    tokens_revoked: u32,
    token_life: u64,
    cdn: bool,
    /// By repository: who may have it.
    private: HashMap<String, Private>,
    /// Tokens that were given to a login.
    with_login: HashMap<u32, String>,
}

struct Private {
    /// `user:password` for the token service.
    login: String,
    /// What a client may send by itself.
    authorization: String,
}

/// A running origin; dropped, it is gone.
pub(crate) struct Origin {
    state: Arc<Mutex<State>>,
    registry: SocketAddr,
    cdn: SocketAddr,
    most_parts: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Host {
    role: Role,
    state: Arc<Mutex<State>>,
    token: SocketAddr,
    cdn: SocketAddr,
    /// How many parts are being sent.
    parts: Arc<AtomicUsize>,
    /// How many there were at most.
    most_parts: Arc<AtomicUsize>,
}

/// A part that is being sent.
struct Sending(Arc<AtomicUsize>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Origin {
    /// An origin that asks nobody for anything.
    pub(crate) async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (registry, token, cdn) = (listen().await, listen().await, listen().await);
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (registry_address, token_address, cdn_address) =
            (address(&registry), address(&token), address(&cdn));
        let mut tasks = Vec::new();
        let (parts, most_parts) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        for (listener, role) in [(registry, Role::Registry), (token, Role::Token), (cdn, Role::Cdn)] {
            let host = Host {
                role,
                state: Arc::clone(&state),
                token: token_address,
                cdn: cdn_address,
                parts: Arc::clone(&parts),
                most_parts: Arc::clone(&most_parts),
            };
            let app = Router::new().fallback(async move |request| answer(&host, request).await);
            tasks.push(tokio::spawn(async move { axum::serve(listener, app).await.expect("a server") }));
        }
        Self { state, registry: registry_address, cdn: cdn_address, most_parts, tasks }
    }

    /// Its address, as `--upstream` takes it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.registry)
    }

    /// Where its blobs are, by another name of the same machine: another origin, as a regional host is.
    pub(crate) fn region(&self) -> String {
        format!("http://localhost:{}", self.cdn.port())
    }

    /// How many parts of throttled contents were asked for at a time, at most.
    pub(crate) fn most_parts(&self) -> usize {
        self.most_parts.load(Ordering::SeqCst)
    }

    /// As Docker Hub: a token from another host, blobs from a third. `login` is `user:password`, where one is needed.
    pub(crate) fn like_docker_hub(&self, login: Option<&str>) {
        let mut state = self.lock();
        state.tokens = Some(login.map(Into::into));
        state.token_life = 300;
        state.cdn = true;
    }

    pub(crate) fn token_life(&self, seconds: u64) {
        self.lock().token_life = seconds;
    }

    /// Refuses all tokens that it gave until now, as if they had run out before their time.
    pub(crate) fn revoke_tokens(&self) {
        let mut state = self.lock();
        state.tokens_revoked = state.tokens_given;
    }

    /// Gives a repository only to who has this login, or sends this Authorization. Everything else is for everybody.
    pub(crate) fn make_private(&self, repository: &str, login: &str, authorization: &str) {
        let mut state = self.lock();
        if state.tokens.is_none() {
            state.tokens = Some(None);
            state.token_life = 300;
        }
        let private = Private { login: login.into(), authorization: authorization.into() };
        state.private.insert(repository.into(), private);
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.lock().blobs.insert(digest.clone(), Bytes::copy_from_slice(bytes));
        digest
    }

    pub(crate) fn put_blob_as(&self, digest: &str, bytes: &[u8]) {
        self.lock().blobs.insert(digest.into(), Bytes::copy_from_slice(bytes));
    }

    /// Under `repository:tag` and under its digest.
    pub(crate) fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> String {
        let (repository, tag) = name.split_once(':').expect("repository:tag");
        let digest = sha256(bytes);
        let mut state = self.lock();
        for reference in [tag, &digest] {
            let value = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
            state.manifests.insert((repository.into(), reference.into()), value);
        }
        digest
    }

    pub(crate) fn put_referrers(&self, subject: &str, index: serde_json::Value) {
        self.lock().referrers.insert(subject.into(), index);
    }

    /// Requests whose path has `part` in it go wrong from now on.
    pub(crate) fn fault(&self, part: &str, fault: Fault) {
        self.lock().faults.push((part.into(), fault));
    }

    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&self) {
        self.lock().log.clear();
    }

    pub(crate) fn log(&self) -> Vec<Asked> {
        self.lock().log.clone()
    }

    /// How many requests of a method came whose path has `part` in it.
    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        let log = self.log();
        log.iter().filter(|asked| asked.method == method && asked.target.contains(part)).count()
    }

    /// Stops listening and answering.
    pub(crate) async fn die(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic before")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn plain(status: u16) -> Response<Body> {
    let mut response =
        Response::new(Body::from(r#"{"errors":[{"code":"UNKNOWN","message":"the origin says no"}]}"#));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

async fn answer(host: &Host, request: Request<Body>) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let text = |name: header::HeaderName| {
        parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    let (authorization, range) = (text(header::AUTHORIZATION), text(header::RANGE));
    let fault = {
        let mut state = host.state.lock().expect("no panic before");
        state.log.push(Asked {
            host: host.role,
            method: parts.method.clone(),
            target: target.clone(),
            authorization: authorization.clone(),
            range,
        });
        let found = state.faults.iter().position(|(part, _)| target.contains(part.as_str()));
        match found.map(|at| (at, state.faults[at].1.clone())) {
            Some((at, once @ Fault::CutOnce(_))) if parts.method == Method::GET => {
                // A redirect has no body to cut.
                if host.role == Role::Cdn || !state.cdn {
                    state.faults.remove(at);
                }
                Some(once)
            }
            Some((at, once @ Fault::StatusOnce(_))) => {
                state.faults.remove(at);
                Some(once)
            }
            found => found.map(|(_, fault)| fault),
        }
    };
    match fault.clone() {
        Some(Fault::StatusOnce(status)) => return plain(status),
        Some(Fault::NoHead(status)) if parts.method == Method::HEAD => return plain(status),
        Some(Fault::Redirect(status, location)) if host.role == Role::Registry => {
            let mut response = plain(status);
            response.headers_mut().insert(header::LOCATION, location.parse().expect("a value"));
            return response;
        }
        Some(Fault::Status(status)) => return plain(status),
        Some(Fault::RetryAfter(status, seconds)) => {
            let mut response = plain(status);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            return response;
        }
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Html) => {
            let mut response = Response::new(Body::from("<html>please log in</html>"));
            response.headers_mut().insert(header::CONTENT_TYPE, "text/html".parse().expect("a value"));
            return response;
        }
        Some(Fault::Endless) if host.role == Role::Token => {
            return body(&Bytes::new(), &HeaderMap::new(), fault);
        }
        Some(Fault::Loop) => {
            let mut response = plain(307);
            response.headers_mut().insert(header::LOCATION, target.parse().expect("a value"));
            return response;
        }
        _ => {}
    }
    let part = text(header::RANGE).is_some_and(|range| !range.ends_with('-'));
    let mut headers = parts.headers.clone();
    let mut open = None;
    if let (Some(Fault::Throttle(_, manner)), true) = (&fault, part) {
        let before = host.parts.fetch_add(1, Ordering::SeqCst);
        host.most_parts.fetch_max(before + 1, Ordering::SeqCst);
        let sending = Sending(Arc::clone(&host.parts));
        match manner {
            Parts::Refused => return plain(503),
            Parts::Few(most) if before >= *most => return plain(429),
            Parts::Ignored => drop(headers.remove(header::RANGE)),
            Parts::Other => drop(headers.insert(header::RANGE, "bytes=0-999".parse().expect("a value"))),
            Parts::Given | Parts::Cut | Parts::Few(_) => {}
        }
        open = Some(sending);
    }
    let fault = match fault {
        Some(Fault::Throttle(rate, manner)) if !part && manner != Parts::Given => {
            Some(Fault::Throttle(rate, Parts::Given))
        }
        other => other,
    };
    match host.role {
        Role::Token => token(host, authorization.as_deref()),
        Role::Cdn if authorization.is_some() => plain(400),
        Role::Registry if !allowed(host, parts.uri.path(), authorization.as_deref()) => {
            let mut response = plain(401);
            let realm =
                format!("Bearer realm=\"http://{}/token\",service=\"origin\",scope=\"x\"", host.token);
            if !matches!(fault, Some(Fault::Silent)) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, realm.parse().expect("a value"));
            }
            response
        }
        Role::Registry | Role::Cdn => {
            let response = content(host, &parts.uri, (&headers, fault));
            // Counted as open until its body has gone.
            response.map(|body| {
                Body::from_stream(body.into_data_stream().map(move |chunk| {
                    let _open = &open;
                    chunk
                }))
            })
        }
    }
}

fn token(host: &Host, authorization: Option<&str>) -> Response<Body> {
    use base64::Engine as _;
    let mut state = host.state.lock().expect("no panic before");
    if let Some(Some(login)) = &state.tokens {
        let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        if authorization != Some(expected.as_str()) {
            return plain(401);
        }
    }
    state.tokens_given += 1;
    let login = authorization.and_then(|value| value.strip_prefix("Basic "));
    if let Some(login) = login.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok()) {
        let number = state.tokens_given;
        state.with_login.insert(number, String::from_utf8(login).expect("text"));
    }
    let answer = json!({"token": format!("token-{}", state.tokens_given), "expires_in": state.token_life});
    Response::new(Body::from(answer.to_string()))
}

fn allowed(host: &Host, path: &str, authorization: Option<&str>) -> bool {
    let state = host.state.lock().expect("no panic before");
    let number = authorization.and_then(|value| value.strip_prefix("Bearer token-")?.parse::<u32>().ok());
    let private =
        state.private.iter().find(|(repository, _)| path.starts_with(&format!("/v2/{repository}/")));
    if let Some((_, private)) = private {
        let login = number.and_then(|number| state.with_login.get(&number));
        return login == Some(&private.login) || authorization == Some(private.authorization.as_str());
    }
    // Whatever a client sends by itself is good for what everybody may have.
    let own = number.is_none() && authorization.is_some();
    state.tokens.is_none() || own || number.is_some_and(|number| number > state.tokens_revoked)
}

fn content(host: &Host, uri: &http::Uri, (headers, fault): (&HeaderMap, Option<Fault>)) -> Response<Body> {
    let state = host.state.lock().expect("no panic before");
    let path = uri.path();
    if path == "/v2/" {
        return Response::new(Body::from("{}"));
    }
    let parts: Vec<&str> = path.trim_start_matches("/v2/").rsplitn(3, '/').collect();
    let &[last, kind, repository] = parts.as_slice() else { return plain(404) };
    match kind {
        "manifests" => {
            let Some((media_type, bytes)) = state.manifests.get(&(repository.into(), last.into())) else {
                return plain(404);
            };
            let mut response = body(bytes, &HeaderMap::new(), fault);
            let add = response.headers_mut();
            add.insert(header::CONTENT_TYPE, media_type.parse().expect("a value"));
            add.insert("docker-content-digest", sha256(bytes).parse().expect("a value"));
            add.insert("ratelimit-limit", "100;w=21600".parse().expect("a value"));
            add.insert("ratelimit-remaining", "76;w=21600".parse().expect("a value"));
            response
        }
        "blobs" => match state.blobs.get(last) {
            None => plain(404),
            Some(_) if state.cdn && host.role == Role::Registry => {
                let mut response = plain(307);
                let location = format!("http://{}{path}?X-Amz-Signature=s3cret-signature", host.cdn);
                response.headers_mut().insert(header::LOCATION, location.parse().expect("a value"));
                response
            }
            Some(bytes) => body(bytes, headers, fault),
        },
        "tags" => tags(&state, repository, uri.query().unwrap_or_default()),
        "referrers" => match state.referrers.get(last) {
            None => plain(404),
            Some(index) => {
                let mut response = Response::new(Body::from(index.to_string()));
                let media_type = "application/vnd.oci.image.index.v1+json".parse().expect("a value");
                response.headers_mut().insert(header::CONTENT_TYPE, media_type);
                response
            }
        },
        _ => plain(404),
    }
}

fn tags(state: &State, repository: &str, query: &str) -> Response<Body> {
    let find = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let mut tags: Vec<&str> = state
        .manifests
        .keys()
        .filter(|(name, tag)| name == repository && !tag.contains(':'))
        .map(|(_, tag)| tag.as_str())
        .collect();
    if tags.is_empty() {
        return plain(404);
    }
    tags.sort_unstable();
    tags.retain(|tag| find("last").is_none_or(|last| *tag > last));
    let n: usize = find("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let more = tags.len() > n;
    tags.truncate(n);
    let mut response = Response::new(Body::from(json!({"name": repository, "tags": tags}).to_string()));
    if let (true, Some(last)) = (more, tags.last()) {
        let link = format!("</v2/{repository}/tags/list?n={n}&last={last}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, link.parse().expect("a value"));
    }
    response
}

/// A body, with its range and its fault.
fn body(bytes: &Bytes, headers: &HeaderMap, fault: Option<Fault>) -> Response<Body> {
    let mut bytes = bytes.clone();
    if let (Some(Fault::Flip), false) = (&fault, bytes.is_empty()) {
        let mut wrong = bytes.to_vec();
        *wrong.last_mut().expect("not empty") ^= 1;
        bytes = wrong.into();
    }
    if let Some(Fault::Empty) = fault {
        bytes = Bytes::new();
    }
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let wanted = if matches!(fault, Some(Fault::NoRanges)) { None } else { wanted };
    let range: Option<ByteRange> = RangeRequest::parse(wanted).resolve(bytes.len() as u64).expect("a range");
    if let Some(range) = range {
        bytes = bytes.slice(range.start as usize..range.end as usize);
    }
    let length = bytes.len();
    let fault_headers = fault.clone();
    let told = !matches!(fault, Some(Fault::NoLength | Fault::Endless));
    let start = range.map_or(0, |range| range.start as usize);
    let inner = match fault {
        Some(Fault::CutOnce(n) | Fault::CutAt(n)) => {
            let n = if matches!(fault, Some(Fault::CutAt(_))) { n.saturating_sub(start) } else { n };
            let head = bytes.slice(..n.min(length));
            // A pause, so that what came before the cut is really sent.
            let cut = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(stream::iter([Ok(head)]).chain(cut))
        }
        Some(Fault::Gate(n, gate)) => {
            let (head, tail) = (bytes.slice(..n.min(length)), bytes.slice(n.min(length)..));
            let rest = stream::once(async move {
                let mut gate = gate;
                gate.wait_for(|open| *open).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(tail)
            });
            Body::from_stream(stream::iter([Ok(head)]).chain(rest))
        }
        Some(Fault::Endless) => Body::from_stream(
            stream::iter([Ok::<_, std::io::Error>(bytes)])
                .chain(stream::repeat_with(|| Ok(Bytes::from_static(&[0; 64 << 10])))),
        ),
        Some(Fault::Slow) => {
            let pieces: Vec<Bytes> = bytes.chunks(length / 10 + 1).map(Bytes::copy_from_slice).collect();
            Body::from_stream(stream::iter(pieces).then(async |piece| {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Ok::<_, std::io::Error>(piece)
            }))
        }
        Some(Fault::Throttle(rate, manner)) => {
            // 50 pieces a second.
            let mut pieces: Vec<Result<Bytes, std::io::Error>> =
                bytes.chunks(rate / 50).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            if manner == Parts::Cut {
                pieces.truncate(5);
                pieces.push(Err(std::io::Error::other("cut")));
            }
            Body::from_stream(stream::iter(pieces).then(async |piece| {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                piece
            }))
        }
        Some(Fault::NoLength) => Body::from_stream(stream::iter([Ok::<_, std::io::Error>(bytes)])),
        _ => Body::from(bytes),
    };
    let mut response = Response::new(inner);
    if let Some(Fault::Headers(length)) = fault_headers {
        for (number, chunk) in vec![b'x'; length].chunks(4096).enumerate() {
            let name: http::HeaderName = format!("x-goog-{number}").parse().expect("a name");
            response.headers_mut().insert(name, chunk.try_into().expect("a value"));
        }
    }
    if told {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().insert(header::CONTENT_RANGE, range.to_string().parse().expect("a value"));
    }
    response
}
