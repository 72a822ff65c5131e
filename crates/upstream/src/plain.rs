//! The client for plain HTTP without a proxy between, as to a registry in the same network: hyper-util's. reqwest does not
//! let the length of a read be set, and without TLS hyper's reads grow to 408 KiB, several for each fetch. The row of
//! `tests/bench` that this client buys is "peak memory, cold, 64 streams": 99 to 151 MiB by reqwest, 60 here, at most 64
//! allowed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use std::{io, vec};

use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::{Body, Response, ResponseBuilderExt as _};
use tower::Service;
use tower::util::{MapFuture, ServiceFn, service_fn};
use url::Url;

use crate::address::{AddressPolicy, Resolver};
use crate::connection::{self, Connection, Opening, opening};
use crate::error::{Error, chain};
use crate::request::USER_AGENT;

/// The length of a read, in bytes.
const READ: usize = 64 << 10;

type Connector = MapFuture<
    Direct,
    fn(Connecting) -> Opening<<Direct as Service<Uri>>::Response, <Direct as Service<Uri>>::Error>,
>;
type Direct = HttpConnector<LookUp>;
type Connecting = <Direct as Service<Uri>>::Future;
/// How names become addresses.
type LookUp = ServiceFn<fn(Name) -> Addresses>;
type Addresses = Pin<Box<dyn Future<Output = io::Result<vec::IntoIter<SocketAddr>>> + Send>>;

/// The clients, and which hosts `HTTP_PROXY` and `NO_PROXY` want to be reached otherwise.
#[derive(Debug)]
pub(crate) struct Plain {
    pooled: Client<Connector, Full<Bytes>>,
    /// Opens a connection for each request.
    fresh: Client<Connector, Full<Bytes>>,
    proxies: Matcher,
}

impl Plain {
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new_with_resolver(service_fn(look_up as fn(Name) -> Addresses));
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let connector = MapFuture::new(connector, opening as _);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(connection::IDLE)
            // As Go's clients read them.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_max_headers(connection::MAX_HEADERS)
            .http1_read_buf_exact_size(READ);
        let pooled = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, fresh, proxies: Matcher::from_env() }
    }

    /// Whether `uri` is asked without a proxy.
    pub(crate) fn reaches(&self, uri: &Uri) -> bool {
        self.proxies.intercept(uri).is_none()
    }

    /// Sends one request, whose URL is `url`, and waits for the headers of its answer; `None` when they are longer than a
    /// read, which some registries' are.
    pub(crate) async fn send(
        &self,
        mut asked: http::Request<Full<Bytes>>,
        url: &Url,
        connection: Connection,
    ) -> Result<Option<Response>, Error> {
        let headers = asked.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let client = match connection {
            Connection::Pooled => &self.pooled,
            Connection::Fresh => &self.fresh,
        };
        let answered = match client.request(asked).await {
            Ok(answered) => answered,
            Err(error) if is_too_long(&error) => return Ok(None),
            Err(error) if error.is_connect() => return Err(Error::connecting(&error)),
            Err(error) => return Err(Error::unavailable(chain(&error))),
        };
        let (parts, body) = answered.into_parts();
        let whole = http::Response::builder().status(parts.status).version(parts.version).url(url.clone());
        let mut whole = whole.body(Body::wrap(body)).map_err(|error| Error::invalid(error.to_string()))?;
        *whole.headers_mut() = parts.headers;
        // The address of the server is among them.
        whole.extensions_mut().extend(parts.extensions);
        Ok(Some(whole.into()))
    }
}

fn look_up(name: Name) -> Addresses {
    Box::pin(async move { Ok(Resolver(AddressPolicy::Any).look_up(name.as_str(), 0).await?.into_iter()) })
}

fn is_too_long(error: &legacy::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
    cause.is_some_and(hyper::Error::is_parse_too_large)
}
