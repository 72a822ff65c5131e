//! GitHub's Actions cache, version 2 of its service, played with all of its limits: entries by scope, reservations that stay,
//! signed URLs that run out, and Azure's blob store behind them. Its clock goes on as a test says.

pub(crate) mod azurite;
mod blobs;
mod entries;
mod twirp;

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::machine::Machine;
use azurite::Azurite;
use entries::{Entry, State};

/// A running one; dropped, it is gone.
pub(crate) struct ActionsCache {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The call's method, or the blob store's: `GET`, `HEAD`, `PUT`, `PUT block`, `PUT blocklist`.
    pub(crate) what: String,
    /// The key that is asked for, or the one of the entry that is read or written.
    pub(crate) key: String,
    pub(crate) range: Option<String>,
    pub(crate) status: u16,
}

/// How the blob store answers reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reads {
    /// As Azure's does.
    #[default]
    Right,
    /// Always with the whole.
    Whole,
    /// With a redirect.
    Elsewhere,
    /// With this status.
    Fail(u16),
}

/// What a token may do in a scope.
pub(crate) const READ: u64 = 1;
pub(crate) const WRITE: u64 = 2;
pub(crate) const BOTH: u64 = READ | WRITE;

/// A block of a pack is shorter in tests, in bytes.
const SHORT: usize = 2 << 20;

/// The default branch, whose entries all others may read.
pub(crate) const MAIN: &str = "refs/heads/main";

impl ActionsCache {
    /// One with a blob store of its own.
    pub(crate) fn start() -> Self {
        Self::start_with(None, local())
    }

    /// One that is on a machine, and has a blob store of its own.
    pub(crate) fn start_on_machine(machine: &Machine) -> Self {
        Self::start_with(None, machine.in_its_network(local))
    }

    /// One whose blobs are in a real blob store.
    pub(crate) fn start_on(azurite: &Azurite) -> Self {
        Self::start_with(Some(azurite.account()), local())
    }

    /// On a thread of its own: a test waits for programs that ask it.
    fn start_with(azurite: Option<azurite::Account>, listener: std::net::TcpListener) -> Self {
        listener.set_nonblocking(true).expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::new(url.clone(), azurite)));
        let shared = Arc::clone(&state);
        let (stop, stopped) = oneshot::channel();
        let serving = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let app = axum::Router::new()
                    .fallback(async move |request: Request<Body>| answer(&shared, request).await);
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    ended = async { axum::serve(listener, app).await } => ended.expect("a server"),
                    _ = stopped => {}
                }
            });
        });
        Self { url, state, stop: Some(stop), serving: Some(serving) }
    }

    /// A job's token for these scopes, each with what may be done there.
    pub(crate) fn token(scopes: &[(&str, u64)]) -> String {
        let scopes: Vec<_> =
            scopes.iter().map(|(scope, may)| json!({"Scope": scope, "Permission": may})).collect();
        let claims = json!({"ac": serde_json::Value::from(scopes).to_string()}).to_string();
        format!("e30.{}.s3cret-signature", URL_SAFE_NO_PAD.encode(claims))
    }

    /// The clock goes on by so much at once.
    pub(crate) fn advance(&self, time: Duration) {
        self.lock().advanced += time;
    }

    /// From now on each call takes so long, and each answer of the blob store.
    pub(crate) fn take(&self, time: Duration) {
        self.lock().latency = time;
    }

    /// From now on each block of an upload takes so long, but for the short ones of packs.
    pub(crate) fn take_in_blocks(&self, time: Duration) {
        self.lock().block_latency = time;
    }

    /// Answers the next calls of a method with 429 and this Retry-After.
    pub(crate) fn refuse(&self, method: &str, calls: usize, retry_after: u64) {
        self.lock().refusals.insert(method.into(), (calls, retry_after));
    }

    /// Answers the next calls of a method with this status and these words, whatever they ask.
    pub(crate) fn say(&self, method: &str, calls: usize, (status, words): (u16, &str)) {
        self.lock().said.insert(method.into(), (calls, status, words.into()));
    }

    /// Does what the next calls of a method ask, and answers with a 502.
    pub(crate) fn lose(&self, method: &str, calls: usize) {
        self.lock().lost.insert(method.into(), calls);
    }

    /// Lets the calls and the blob store answer nothing, until it is over.
    pub(crate) fn hold(&self, is_held: bool) {
        self.lock().is_held = is_held;
    }

    /// From now on reads of the blob store are answered so.
    pub(crate) fn read_as(&self, reads: Reads) {
        self.lock().reads = reads;
    }

    /// From now on the repository has no space left, and none is made.
    pub(crate) fn fill_up(&self) {
        self.lock().is_full = true;
    }

    /// Lets the next URLs of the real blob store be ones that have run out.
    pub(crate) fn run_out(&self, urls: usize) {
        self.lock().run_out = urls;
    }

    /// Breaks the next answers with a body off, each after so many bytes.
    pub(crate) fn cut(&self, after: &[u64]) {
        self.lock().cuts.extend(after);
    }

    /// From now on a connection brings so many bytes a second.
    pub(crate) fn bring(&self, rate: u64) {
        self.lock().rate = Some(rate);
    }

    /// Answers the next requests to the blob store with these statuses.
    pub(crate) fn fail(&self, statuses: &[u16]) {
        self.lock().failures.extend(statuses);
    }

    /// The bytes that the repository's entries may have; beyond, the ones that were not used for longest go.
    pub(crate) fn quota(&self, bytes: u64) {
        self.lock().quota = bytes;
    }

    /// Puts an entry there, as an earlier job did.
    pub(crate) fn put(&self, scope: &str, (key, version): (&str, &str), bytes: impl Into<Bytes>) {
        self.lock().put(Entry::new(scope, key, version), Some(bytes.into()));
    }

    /// Reserves a key, as a job did that ended before its upload.
    pub(crate) fn reserve(&self, scope: &str, (key, version): (&str, &str)) {
        self.lock().put(Entry::new(scope, key, version), None);
    }

    /// Takes all entries of a key away.
    pub(crate) fn evict(&self, key: &str) {
        self.lock().entries.retain(|entry| entry.key != key);
    }

    /// The keys of what was saved, in the order of its creation.
    pub(crate) fn saved(&self) -> Vec<String> {
        let state = self.lock();
        state.entries.iter().filter(|entry| entry.is_saved).map(|entry| entry.key.clone()).collect()
    }

    /// The bytes of the newest entry of a key.
    pub(crate) fn bytes(&self, key: &str) -> Option<Bytes> {
        self.lock().entries.iter().rev().find(|entry| entry.key == key)?.bytes.clone()
    }

    /// What was asked, in order.
    pub(crate) fn log(&self) -> Vec<Asked> {
        self.lock().log.clone()
    }

    /// How many requests of this kind came.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.lock().log.iter().filter(|asked| asked.what == what).count()
    }

    /// How many times somebody asked to save.
    pub(crate) fn asked_to_save(&self) -> usize {
        self.count("CreateCacheEntry")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic before")
    }
}

impl Drop for ActionsCache {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

/// A socket on a free port.
fn local() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")
}

async fn answer(state: &Mutex<State>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // The client has gone.
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let latency = {
        let state = state.lock().expect("no panic before");
        state.latency + if body.len() > SHORT { state.block_latency } else { Duration::ZERO }
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    while state.lock().expect("no panic before").is_held {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = |name| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let range = text(header::HeaderName::from_static("x-ms-range")).or_else(|| text(header::RANGE));
    let (what, key, answer) = match parts.uri.path().strip_prefix(twirp::PATH) {
        Some(method) => {
            let question: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let authorization = text(header::AUTHORIZATION).unwrap_or_default();
            let key = question["key"].as_str().unwrap_or_default().to_owned();
            let answered = twirp::answer(state, method, &authorization, &question).await;
            let is_lost = state.lock().expect("no panic before").loses(method);
            let answer = if is_lost { status(StatusCode::BAD_GATEWAY) } else { answered };
            (method.to_owned(), key, answer)
        }
        None => blobs::answer(&mut state.lock().expect("no panic before"), &parts, range.as_deref(), &body),
    };
    let status = answer.status().as_u16();
    state.lock().expect("no panic before").log.push(Asked { what, key, range, status });
    answer
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
