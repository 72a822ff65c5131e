//! One request: its time limits, and where a redirect may lead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
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
    /// For plain HTTP on this machine: no roots are read for it, which is most of what a client costs.
    plain: OnceLock<Result<Client, String>>,
    /// For redirects of a public registry: no name leads it to a private address.
    public: OnceLock<Result<Client, String>>,
}

/// The system's resolver, without what is private.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| !is_private_ip(address.ip())).collect();
            if public.is_empty() {
                return Err("a public registry leads to a private address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
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
        Self {
            timeout,
            proxied: OnceLock::new(),
            direct: OnceLock::new(),
            plain: OnceLock::new(),
            public: OnceLock::new(),
        }
    }

    /// How long the headers of an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client for a URL: `HTTPS_PROXY` and its like are for the outside world, never for this machine.
    pub(crate) fn client(&self, url: &Url) -> Result<&Client, Error> {
        if is_loopback(url) && url.scheme() == "http" {
            self.make(&self.plain, |builder| builder.no_proxy().tls_certs_only([]))
        } else if is_loopback(url) {
            self.make(&self.direct, reqwest::ClientBuilder::no_proxy)
        } else {
            self.make(&self.proxied, |builder| builder)
        }
    }

    fn make<'a>(
        &self,
        slot: &'a OnceLock<Result<Client, String>>,
        with: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<&'a Client, Error> {
        let client = slot.get_or_init(|| {
            // One connection a stream: over HTTP/2 all would share one connection's speed.
            let builder = Client::builder()
                .http1_only()
                .redirect(redirect::Policy::none())
                .connect_timeout(self.timeout)
                .user_agent(concat!("hubcap/", env!("CARGO_PKG_VERSION")))
                .tcp_nodelay(true);
            with(builder).build().map_err(|error| Error::connection(error).to_string())
        });
        client.as_ref().map_err(|why| Error::unavailable(format!("no TLS client can be made: {why}")))
    }

    /// Sends one request, and waits for the headers of its answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Error> {
        self.send_with(self.client(&request.url)?, request).await
    }

    async fn send_with(&self, client: &Client, request: Request) -> Result<Response, Error> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let sending = client.request(request.method, request.url).headers(request.headers).send();
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Error::connection(error)),
            Err(_) => Err(Error::unavailable(format!(
                "{host} did not answer within {} s",
                self.timeout.as_secs_f32()
            ))),
        }
    }

    /// Sends a request and follows redirects by hand: the Authorization stays with the host that it was for, and a
    /// registry at a public address leads to no private one.
    pub(crate) async fn send_following(&self, mut request: Request) -> Result<Response, Error> {
        let origin = request.url.clone();
        let mut client = self.client(&origin)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_with(client, request.clone()).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = location
                .and_then(|location| request.url.join(location).ok())
                .ok_or_else(|| Error::invalid("a redirect without a usable Location"))?;
            // An upstream that a name leads to this network may redirect within it.
            let public = response.remote_addr().is_some_and(|address| !is_private_ip(address.ip()));
            check_redirect(&origin, &next, public)?;
            client = if public {
                self.make(&self.public, |builder| builder.dns_resolver(Arc::new(PublicOnly)))?
            } else {
                self.client(&next)?
            };
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
fn check_redirect(origin: &Url, next: &Url, public: bool) -> Result<(), Error> {
    match (origin.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(Error::invalid("a redirect from https to http")),
        _ => return Err(Error::invalid("a redirect to something that is not http")),
    }
    if (public && is_private(next)) || (is_loopback(next) && !is_private(origin)) {
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
    is_private_ip(ip)
}

/// Whether no registry of the world can be there (IANA's special-purpose addresses, as far as they are routed).
fn is_private_ip(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // 0.0.0.0/8 is this host; 100.64.0.0/10 is a provider's own net, where some clouds keep their metadata.
            let shared = first == 0 || (first == 100 && second & 0xc0 == 64);
            shared
                || ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
        }
        IpAddr::V6(ip) => match ip.segments() {
            // NAT64 (RFC 6052): an IPv4 address in other clothes.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_private_ip(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into())
            }
            _ => {
                let local = ip.is_unique_local() || ip.is_unicast_link_local();
                local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(from: &str, to: &str) -> bool {
        let from: Url = from.parse().expect("a URL");
        check_redirect(&from, &to.parse().expect("a URL"), !is_private(&from)).is_ok()
    }

    #[test]
    fn a_public_registry_leads_nowhere_private_and_not_out_of_tls() {
        // What a name stands for is known only when it is asked for.
        let resolving = PublicOnly.resolve("localhost".parse().expect("a name"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(runtime.block_on(resolving).is_err());
        assert!(follows("https://registry-1.docker.io", "https://production.cloudfront.docker.com/x?sig=1"));
        assert!(follows("https://registry-1.docker.io", "https://[64:ff9b::808:808]/x"));
        assert!(follows("https://registry-1.docker.io", "https://100.128.0.1/x"));
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
            "https://0.1.2.3",
            "https://100.100.100.200/latest",
            "https://255.255.255.255",
            "https://[64:ff9b::a9fe:a9fe]/latest",
            "https://[fd00::1]",
            "https://[ff02::1]",
        ] {
            assert!(!follows("https://registry-1.docker.io", to), "{to}");
        }
    }
}
