//! A registry that behaves as Docker Hub does: tokens from another host, blobs from a third, and any [`quirk`] that a
//! test asks for. It keeps a log of what it was asked.

mod asked;
mod plain;
pub(crate) mod quirk;
mod reply;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::image::sha256;
use plain::{Addresses, Content, Private};
use quirk::OpenParts;

pub(crate) use asked::{Asked, Role};
pub(crate) use quirk::{Act, Parts, Quirk};
pub(crate) use reply::Reply;

#[derive(Default)]
struct State {
    content: Content,
    quirks: Vec<(String, Quirk)>,
    log: Vec<Asked>,
    open_parts: Arc<OpenParts>,
}

/// A running origin; dropped, it is gone.
pub(crate) struct Origin {
    state: Arc<Mutex<State>>,
    registry: SocketAddr,
    addresses: Addresses,
    tasks: Vec<JoinHandle<()>>,
    /// What the bytes of its images are made of.
    seed: u64,
}

#[derive(Clone)]
struct Host {
    role: Role,
    state: Arc<Mutex<State>>,
    addresses: Addresses,
}

impl Origin {
    /// An origin that asks nobody for anything.
    pub(crate) async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (registry, token, cdn) = (listen().await, listen().await, listen().await);
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let addresses = Addresses { token: address(&token), cdn: address(&cdn) };
        let registry_address = address(&registry);
        let mut tasks = Vec::new();
        for (listener, role) in [(registry, Role::Registry), (token, Role::Token), (cdn, Role::Cdn)] {
            let host = Host { role, state: Arc::clone(&state), addresses };
            tasks.push(tokio::spawn(serve(listener, host)));
        }
        Self { state, registry: registry_address, addresses, tasks, seed: 0 }
    }

    /// The same with images that no origin of another seed has.
    pub(crate) async fn start_with(seed: u64) -> Self {
        let mut origin = Self::start().await;
        origin.seed = seed;
        origin
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Its address, as `--upstream` takes it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.registry)
    }

    /// Where its tokens are.
    pub(crate) fn token_url(&self) -> String {
        format!("http://{}/token", self.addresses.token)
    }

    /// Where its blobs are, by another name of the same machine: another origin, as a regional host is.
    pub(crate) fn region(&self) -> String {
        format!("http://localhost:{}", self.addresses.cdn.port())
    }

    /// How many parts of throttled contents were asked for at a time, at most.
    pub(crate) fn most_parts(&self) -> usize {
        self.lock().open_parts.most()
    }

    /// As Docker Hub: a token from another host, blobs from a third. `login` is `user:password`, where one is needed.
    pub(crate) fn like_docker_hub(&self, login: Option<&str>) {
        let content = &mut self.lock().content;
        content.tokens = Some(login.map(Into::into));
        content.token_life = 300;
        content.cdn = true;
    }

    /// Gives everything to who shows no token.
    pub(crate) fn want_no_tokens(&self) {
        self.lock().content.tokens = None;
    }

    pub(crate) fn token_life(&self, seconds: u64) {
        self.lock().content.token_life = seconds;
    }

    /// Refuses all tokens that it gave until now, as if they had run out before their time.
    pub(crate) fn revoke_tokens(&self) {
        let content = &mut self.lock().content;
        content.tokens_revoked = content.tokens_given;
    }

    /// Gives a repository only to who has this login, or sends this Authorization. Everything else is for everybody.
    pub(crate) fn make_private(&self, repository: &str, login: &str, authorization: &str) {
        let content = &mut self.lock().content;
        if content.tokens.is_none() {
            content.tokens = Some(None);
            content.token_life = 300;
        }
        let private = Private { login: login.into(), authorization: authorization.into() };
        content.private.insert(repository.into(), private);
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.put_blob_as(&digest, bytes);
        digest
    }

    pub(crate) fn put_blob_as(&self, digest: &str, bytes: &[u8]) {
        self.lock().content.blobs.insert(digest.into(), Bytes::copy_from_slice(bytes));
    }

    /// Under `repository:tag` and under its digest.
    pub(crate) fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> String {
        let (repository, tag) = name.split_once(':').expect("repository:tag");
        let digest = sha256(bytes);
        let content = &mut self.lock().content;
        for reference in [tag, &digest] {
            let value = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
            content.manifests.insert((repository.into(), reference.into()), value);
        }
        digest
    }

    /// Takes `repository:tag` away; its manifest stays.
    pub(crate) fn remove_tag(&self, name: &str) {
        let (repository, tag) = name.split_once(':').expect("repository:tag");
        self.lock().content.manifests.remove(&(repository.into(), tag.into()));
    }

    pub(crate) fn put_referrers(&self, subject: &str, index: serde_json::Value) {
        self.lock().content.referrers.insert(subject.into(), index);
    }

    /// The digests of what refers to a manifest.
    pub(crate) fn referrers(&self, subject: &str) -> Vec<String> {
        let index = &self.lock().content.referrers[subject];
        let list = index["manifests"].as_array().expect("a list");
        list.iter().map(|one| one["digest"].as_str().expect("a digest").to_owned()).collect()
    }

    /// A manifest that it has: media type and bytes.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        self.lock().content.manifests.get(&(repository.into(), reference.into())).cloned()
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.lock().content.blobs.get(digest).cloned()
    }

    /// All tags of a repository, in order.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        self.lock().content.tags_of(repository).into_iter().map(Into::into).collect()
    }

    /// From now on the quirk sees requests, to any of the hosts, whose target has `part` in it.
    pub(crate) fn quirk(&self, part: &str, quirk: Quirk) {
        self.lock().quirks.push((part.into(), quirk));
    }

    /// Forgets all quirks.
    pub(crate) fn heal(&self) {
        self.lock().quirks.clear();
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

/// Takes connections until it is dropped, which ends them all.
async fn serve(listener: TcpListener, host: Host) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                connections.spawn(connection(stream, host.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, host: Host) {
    let requests = AtomicUsize::new(0);
    let service = service_fn(|request| answer(&host, request, requests.fetch_add(1, Ordering::SeqCst)));
    // A client that goes away, or a quirk that ends the connection, is no failure of the test.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// # Errors
/// Where the connection has to end without an answer.
async fn answer(
    host: &Host,
    request: Request<hyper::body::Incoming>,
    nth: usize,
) -> Result<Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let text = |name| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
    let mut asked = Asked {
        host: host.role,
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
        nth,
        authorization: text(http::header::AUTHORIZATION),
        range: text(http::header::RANGE),
        method: parts.method,
        headers: parts.headers,
        open_parts: Arc::clone(&host.state.lock().expect("no panic before").open_parts),
    };
    let act = {
        let mut state = host.state.lock().expect("no panic before");
        state.log.push(asked.clone());
        let target = asked.target.clone();
        let mut quirks = state.quirks.iter().filter(|(part, _)| target.contains(part.as_str()));
        quirks.find_map(|(_, quirk)| quirk.decide(&mut asked))
    };
    let plain = || host.state.lock().expect("no panic before").content.answer(&asked, host.addresses);
    let reply = match act {
        None => plain(),
        Some(Act::Answer(reply)) => reply,
        Some(Act::Change(change)) => change(plain()),
        Some(Act::Late(time)) => {
            tokio::time::sleep(time).await;
            plain()
        }
        Some(Act::Held(mut gate)) => {
            gate.wait_for(|open| *open).await.map_err(std::io::Error::other)?;
            plain()
        }
        Some(Act::Hang) => std::future::pending().await,
        Some(Act::Close) => return Err(std::io::Error::other("the connection ends")),
    };
    Ok(reply.into_response())
}
