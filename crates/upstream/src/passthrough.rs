//! A client's own requests to its registry, passed on as they are: pushes, logins, and whatever else is no pull.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, uri};
use http_body::Body;
use http_body_util::{BodyExt as _, StreamBody};
use url::Url;

use crate::connection::{Connection, first_answer};
use crate::error::Error;
use crate::registry::Upstream;
use crate::transport::is_dead;

/// How long a registry need send nothing in the middle of an answer.
const IDLE_ANSWER: Duration = Duration::from_secs(30);
/// How long a registry need send nothing before it answers a GET or HEAD: as long as a pull's answer may take to begin.
const IDLE_READ: Duration = Duration::from_secs(60);
/// How long neither side of another request need send anything before that. Long, because a registry says nothing while it stores
/// a big layer.
const IDLE_WRITE: Duration = Duration::from_secs(300);

/// Headers for one hop only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

impl Upstream {
    /// Sends a client's request to the registry as it is, and gives its answer as it is. Nothing is followed, nothing
    /// kept, and the login is the client's own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the registry cannot be reached, or neither side has said anything for a minute, or for five
    /// where something is written.
    pub async fn pass<B>(&self, request: Request<B>) -> Result<Response<reqwest::Body>, Error>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let base = self.base();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        let url = self.place(path)?;
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let mut headers = end_to_end(parts.headers);
        if base.scheme() == "http" {
            // It writes its own address into its answers, and the client has come to another one by TLS.
            headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        }
        let is_read = matches!(parts.method, Method::GET | Method::HEAD) && body.is_end_stream();
        let response = if is_read {
            self.read(parts.method, url, headers).await?
        } else {
            let sending = self.client(Connection::Pooled)?.request(parts.method, url).headers(headers);
            write(sending, body).await?
        };
        if response.status().is_informational() {
            // Of what the client wants to switch to, nothing was passed on.
            return Err(Error::Invalid { why: format!("{}, for which nobody asked", response.status()) });
        }
        let (mut parts, body) = Response::<reqwest::Body>::from(response).into_parts();
        parts.headers = end_to_end(parts.headers);
        if let (Some(host), Some(location)) = (host, parts.headers.get(header::LOCATION))
            && let Some(location) = location.to_str().ok().and_then(|text| at_host(text, base, &host))
        {
            parts.headers.insert(header::LOCATION, location);
        }
        Ok(Response::from_parts(parts, with_an_end(body)))
    }

    /// Sends what may be sent twice, where its connection has ended meanwhile.
    async fn read(&self, method: Method, url: Url, headers: HeaderMap) -> Result<reqwest::Response, Error> {
        let send = |connection| {
            let (method, url, headers) = (method.clone(), url.clone(), headers.clone());
            async move {
                let sending = self.client(connection)?.request(method, url).headers(headers).send();
                sending.await.map_err(Error::connection)
            }
        };
        let pooled = send(Connection::Pooled);
        let answering = first_answer(pooled, || send(Connection::Fresh), self.patience(), is_dead);
        tokio::time::timeout(IDLE_READ, answering).await.map_err(|_| silence(IDLE_READ))?
    }
}

/// Sends what may be sent once only.
async fn write<B>(mut sending: reqwest::RequestBuilder, body: B) -> Result<reqwest::Response, Error>
where
    B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let last_frame = LastFrame(Arc::new(Mutex::new(Instant::now())));
    if !body.is_end_stream() {
        let last_frame = last_frame.clone();
        sending = sending.body(reqwest::Body::wrap(body.inspect_frame(move |_| last_frame.set_now())));
    }
    let sending = sending.send();
    tokio::pin!(sending);
    loop {
        let left = IDLE_WRITE.saturating_sub(last_frame.age());
        match tokio::time::timeout(left, &mut sending).await {
            Ok(answered) => return answered.map_err(Error::connection),
            Err(_) if last_frame.age() < IDLE_WRITE => {}
            Err(_) => return Err(silence(IDLE_WRITE)),
        }
    }
}

/// The same body, which breaks off when nothing comes of it any more.
fn with_an_end(body: reqwest::Body) -> reqwest::Body {
    // Known to be over, its length is told.
    if body.is_end_stream() {
        return body;
    }
    let frames = stream::try_unfold(body, async |mut body| {
        match tokio::time::timeout(IDLE_ANSWER, body.frame()).await {
            Ok(frame) => Ok(frame.transpose().map_err(Error::connection)?.map(|frame| (frame, body))),
            Err(_) => Err(silence(IDLE_ANSWER)),
        }
    });
    reqwest::Body::wrap(StreamBody::new(frames))
}

fn silence(length: Duration) -> Error {
    Error::unavailable(format!("nothing came for {} s", length.as_secs()))
}

/// A Location at the address that hubcap has for the registry, as the client knows the registry.
fn at_host(location: &str, base: &Url, host: &str) -> Option<HeaderValue> {
    let url = Url::parse(location).ok()?;
    let same =
        Url::parse(&format!("{}://{host}", base.scheme())).is_ok_and(|one| one.origin() == url.origin());
    if url.origin() != base.origin() && !same {
        return None;
    }
    let path = url[url::Position::BeforePath..].strip_prefix(base.path().trim_end_matches('/'))?;
    HeaderValue::from_str(&format!("https://{host}{path}")).ok()
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(',').filter_map(|name| name.trim().parse().ok()))
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    headers
}

/// When the client last sent a frame of its body.
#[derive(Clone)]
struct LastFrame(Arc<Mutex<Instant>>);

impl LastFrame {
    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn set_now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_at_the_registry_is_told_as_the_client_knows_it_and_others_stay() {
        let base: Url = "http://127.0.0.1:5000/prefix".parse().expect("a URL");
        let told = |location: &str| at_host(location, &base, "ghcr.io");
        assert_eq!(
            told("http://127.0.0.1:5000/prefix/v2/a/blobs/uploads/1?_state=x%3D").expect("told"),
            "https://ghcr.io/v2/a/blobs/uploads/1?_state=x%3D"
        );
        for other in
            ["/v2/a", "https://cdn.example/x", "https://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/v2/"]
        {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_between_two_hops_stays_there() {
        let mut headers = HeaderMap::new();
        for name in ["connection", "keep-alive", "x-mine", "authorization", "content-length"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x-mine"));
        }
        let mut left: Vec<_> = end_to_end(headers).keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["authorization", "content-length"]);
    }
}
