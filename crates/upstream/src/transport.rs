//! One request: its time limits, and where a redirect may lead.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Client, Response, redirect};
use url::{Host, Url};

use crate::Error;

/// A registry redirects once, to its blob store; more than this is a loop.
const MAX_REDIRECTS: usize = 5;

/// The HTTP client. Made at the first request: reading the system's roots costs more than a whole start.
#[derive(Debug)]
pub(crate) struct Transport {
    timeout: Duration,
    proxied: OnceLock<Result<Client, String>>,
    direct: OnceLock<Result<Client, String>>,
}

/// A request without a body, as all of a pull's are.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl Transport {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, proxied: OnceLock::new(), direct: OnceLock::new() }
    }

    /// How long the headers of an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client for a URL: `HTTPS_PROXY` and its like are for the outside world, never for this machine.
    pub(crate) fn client(&self, url: &Url) -> Result<&Client, Error> {
        let local = is_loopback(url);
        let slot = if local { &self.direct } else { &self.proxied };
        let client = slot.get_or_init(|| {
            // One connection a stream: over HTTP/2 all would share one connection's speed.
            let builder = Client::builder()
                .http1_only()
                .redirect(redirect::Policy::none())
                .connect_timeout(self.timeout)
                .user_agent(concat!("hubcap/", env!("CARGO_PKG_VERSION")))
                .tcp_nodelay(true);
            let builder = if local { builder.no_proxy() } else { builder };
            builder.build().map_err(|error| Error::connection(error).to_string())
        });
        client.as_ref().map_err(|why| Error::unavailable(format!("no TLS client can be made: {why}")))
    }

    /// Sends one request, and waits for the headers of its answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Error> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let sending =
            self.client(&request.url)?.request(request.method, request.url).headers(request.headers).send();
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Error::connection(error)),
            Err(_) => Err(Error::unavailable(format!(
                "{host} did not answer within {} s",
                self.timeout.as_secs_f32()
            ))),
        }
    }

    /// Sends a request and follows redirects by hand: the Authorization stays with the host that it was for.
    pub(crate) async fn send_following(&self, mut request: Request) -> Result<Response, Error> {
        let origin = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(request.clone()).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = location
                .and_then(|location| request.url.join(location).ok())
                .ok_or_else(|| Error::invalid("a redirect without a usable Location"))?;
            check_redirect(&origin, &next)?;
            if next.origin() != request.url.origin() {
                request.headers.remove(header::AUTHORIZATION);
            }
            request.url = next;
        }
        Err(Error::invalid(format!("more than {MAX_REDIRECTS} redirects")))
    }
}

pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A public registry must not lead us to this machine or its network, nor out of TLS.
fn check_redirect(origin: &Url, next: &Url) -> Result<(), Error> {
    match (origin.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(Error::invalid("a redirect from https to http")),
        _ => return Err(Error::invalid("a redirect to something that is not http")),
    }
    if is_private(next) && !is_private(origin) {
        return Err(Error::invalid("a redirect from a public registry to a private address"));
    }
    Ok(())
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Loopback, link-local and the private networks, as far as the URL itself shows it.
fn is_private(url: &Url) -> bool {
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        _ => return is_loopback(url),
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(from: &str, to: &str) -> bool {
        check_redirect(&from.parse().expect("a URL"), &to.parse().expect("a URL")).is_ok()
    }

    #[test]
    fn a_public_registry_leads_nowhere_private_and_not_out_of_tls() {
        assert!(follows("https://registry-1.docker.io", "https://production.cloudfront.docker.com/x?sig=1"));
        assert!(follows("http://127.0.0.1:5000", "http://127.0.0.1:6000"));
        assert!(follows("http://10.0.0.1", "https://cdn.example"));
        for to in [
            "http://cdn.example",
            "ftp://cdn.example",
            "https://127.0.0.1",
            "https://localhost",
            "https://10.1.2.3",
            "https://169.254.169.254/latest",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://0.0.0.0",
        ] {
            assert!(!follows("https://registry-1.docker.io", to), "{to}");
        }
    }
}
