//! The client for plain HTTP without a proxy between, as to a registry in the same network: hyper-util's. reqwest does not
//! let the length of a read be set, and without TLS hyper's reads grow to 408 KiB, several for each fetch. The row of
//! `tests/bench` that this client buys is "peak memory, cold, 64 streams": 99 to 151 MiB by reqwest, 60 here, at most 64
//! allowed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::Empty;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::{Body, Response, ResponseBuilderExt as _};

use crate::error::{Error, chain};
use crate::request::{Request, USER_AGENT};

/// The length of a read, in bytes.
const READ: usize = 64 << 10;
/// How long a connection is kept for the next request, as reqwest keeps its own.
const IDLE: Duration = Duration::from_secs(90);

/// The client, and which hosts `HTTP_PROXY` and `NO_PROXY` want to be reached otherwise.
#[derive(Debug)]
pub(crate) struct Plain {
    client: Client<HttpConnector, Empty<Bytes>>,
    proxies: Matcher,
}

impl Plain {
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_read_buf_exact_size(READ)
            .build(connector);
        Self { client, proxies: Matcher::from_env() }
    }

    /// Whether `uri` is asked without a proxy.
    pub(crate) fn reaches(&self, uri: &Uri) -> bool {
        self.proxies.intercept(uri).is_none()
    }

    /// Sends one request, and waits for the headers of its answer; `None` when they are longer than a read, which some
    /// registries' are.
    pub(crate) async fn send(&self, request: Request, uri: Uri) -> Result<Option<Response>, Error> {
        let Request { method, url, headers, .. } = request;
        let mut asked = http::Request::new(Empty::new());
        *asked.method_mut() = method;
        *asked.uri_mut() = uri;
        *asked.headers_mut() = headers;
        let headers = asked.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let answered = match self.client.request(asked).await {
            Ok(answered) => answered,
            Err(error) if is_too_long(&error) => return Ok(None),
            Err(error) => return Err(Error::unavailable(chain(&error))),
        };
        let (parts, body) = answered.into_parts();
        let whole = http::Response::builder().status(parts.status).version(parts.version).url(url);
        let mut whole = whole.body(Body::wrap(body)).map_err(|error| Error::invalid(error.to_string()))?;
        *whole.headers_mut() = parts.headers;
        // The address of the server is among them.
        whole.extensions_mut().extend(parts.extensions);
        Ok(Some(whole.into()))
    }
}

fn is_too_long(error: &legacy::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
    cause.is_some_and(hyper::Error::is_parse_too_large)
}
