//! One request: its time limits, and where a redirect may lead.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Uri, header};
use reqwest::{Client, Response, redirect};
use url::Url;

use crate::address::{AddressPolicy, PublicResolver, is_link_local, is_loopback, is_private, is_public};
use crate::error::Error;
use crate::plain::Plain;
use crate::request::{Redirects, Request, USER_AGENT};
use crate::status::is_redirect;

/// A registry redirects once, to its blob store; more than this is a loop.
const MAX_REDIRECTS: usize = 5;

/// The HTTP client. Made at the first request: reading the system's roots costs more than a whole start.
#[derive(Debug)]
pub(crate) struct Transport {
    timeout: Duration,
    proxied: OnceLock<Result<Client, String>>,
    direct: OnceLock<Result<Client, String>>,
    /// For plain HTTP on this machine: no roots are read for it, which is most of what a client costs.
    unencrypted: OnceLock<Result<Client, String>>,
    /// For registries that only a pattern allows, and for redirects of a public registry: no name leads to a private address.
    public: OnceLock<Result<Client, String>>,
    plain: OnceLock<Plain>,
}

impl Transport {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            proxied: OnceLock::new(),
            direct: OnceLock::new(),
            unencrypted: OnceLock::new(),
            public: OnceLock::new(),
            plain: OnceLock::new(),
        }
    }

    /// How long the headers of an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client for a URL: `HTTPS_PROXY` and its like are for other machines, never for this one.
    pub(crate) fn client(&self, url: &Url, policy: AddressPolicy) -> Result<&Client, Error> {
        if policy == AddressPolicy::PublicOnly {
            if is_private(url) {
                let host = url.host_str().unwrap_or_default();
                return Err(Error::NotAllowed { why: format!("{host} is a private address") });
            }
            self.make(&self.public, |builder| builder.dns_resolver(Arc::new(PublicResolver)))
        } else if is_loopback(url) && url.scheme() == "http" {
            self.make(&self.unencrypted, |builder| builder.no_proxy().tls_certs_only([]))
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
                .user_agent(USER_AGENT)
                .tcp_nodelay(true);
            with(builder).build().map_err(|error| Error::connection(error).to_string())
        });
        client.as_ref().map_err(|why| Error::unavailable(format!("no TLS client can be made: {why}")))
    }

    /// Sends a request, and waits for the headers of its answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no answer in time; [`Error::NotAllowed`] and [`Error::Invalid`] for what the
    /// address policy and the rules for redirects refuse.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Error> {
        match request.redirects {
            Redirects::Follow => self.send_following(request).await,
            Redirects::Return => self.send_once(request).await,
        }
    }

    async fn send_once(&self, request: Request) -> Result<Response, Error> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        match tokio::time::timeout(self.timeout, self.send_now(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::unavailable(format!(
                "{host} did not answer within {} s",
                self.timeout.as_secs_f32()
            ))),
        }
    }

    /// Makes the client for a URL. A failure is told by the request that needs it.
    pub(crate) fn prepare(&self, url: &Url, policy: AddressPolicy) {
        if self.plain(url, policy).is_none() {
            let _ = self.client(url, policy);
        }
    }

    /// The client for plain HTTP, and the address as it takes it, where that is what a request needs.
    fn plain(&self, url: &Url, policy: AddressPolicy) -> Option<(&Plain, Uri)> {
        if policy == AddressPolicy::PublicOnly || url.scheme() != "http" {
            return None;
        }
        let plain = self.plain.get_or_init(|| Plain::new(self.timeout));
        let uri = url.as_str().parse().ok()?;
        (is_loopback(url) || plain.reaches(&uri)).then_some((plain, uri))
    }

    async fn send_now(&self, request: Request) -> Result<Response, Error> {
        if let Some((plain, uri)) = self.plain(&request.url, request.policy)
            && let Some(response) = plain.send(request.clone(), uri).await?
        {
            return Ok(response);
        }
        let client = self.client(&request.url, request.policy)?;
        let sending = client.request(request.method, request.url).headers(request.headers).send();
        sending.await.map_err(Error::connection)
    }

    /// Sends a request and follows redirects by hand: the Authorization stays with the host that it was for, and a
    /// registry at a public address leads to no private one.
    async fn send_following(&self, mut request: Request) -> Result<Response, Error> {
        let origin = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(request.clone()).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = location
                .and_then(|location| request.url.join(location).ok())
                .ok_or_else(|| Error::invalid("a redirect without a usable Location"))?;
            request.policy = policy_after(&response, request.policy);
            check_redirect(&origin, &next, request.policy)?;
            if next.origin() != request.url.origin() {
                request.headers.remove(header::AUTHORIZATION);
            }
            request.url = next;
        }
        Err(Error::invalid(format!("more than {MAX_REDIRECTS} redirects")))
    }
}

/// The policy for the hosts that an answer names: an answer from the Internet may name hosts of the Internet only, one
/// from a network that the operator named may name hosts within it.
pub(crate) fn policy_after(response: &Response, asked: AddressPolicy) -> AddressPolicy {
    match response.remote_addr() {
        Some(address) if is_public(address.ip()) => AddressPolicy::PublicOnly,
        _ => asked,
    }
}

/// A public registry must not lead us to this machine or its network, nor any one out of TLS.
fn check_redirect(origin: &Url, next: &Url, policy: AddressPolicy) -> Result<(), Error> {
    match (origin.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(Error::invalid("a redirect from https to http")),
        _ => return Err(Error::invalid("a redirect to something that is not http")),
    }
    check_target(origin, next, policy).map_err(|why| Error::invalid(format!("a redirect {why}")))
}

/// Whether `next` is an allowed target for a registry at `origin`, as far as the URL itself shows it. The addresses
/// behind a name are checked by [`PublicResolver`].
///
/// # Errors
/// Why not, to be put behind "a redirect".
pub(crate) fn check_target(origin: &Url, next: &Url, policy: AddressPolicy) -> Result<(), &'static str> {
    if (policy == AddressPolicy::PublicOnly && is_private(next)) || (is_loopback(next) && !is_private(origin))
    {
        return Err("from a public registry to a private address");
    }
    if is_link_local(next) && !is_link_local(origin) {
        return Err("to a link's own address, where clouds have their secrets");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(from: &str, to: &str) -> bool {
        let from: Url = from.parse().expect("a URL");
        let policy = if is_private(&from) { AddressPolicy::Any } else { AddressPolicy::PublicOnly };
        check_redirect(&from, &to.parse().expect("a URL"), policy).is_ok()
    }

    #[test]
    fn a_public_registry_leads_nowhere_private_and_not_out_of_tls() {
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
            "https://2130706433",
        ] {
            assert!(!follows("https://registry-1.docker.io", to), "{to}");
        }
        // Nobody's blobs are at a cloud's metadata service.
        assert!(!follows("http://127.0.0.1:5000", "http://169.254.169.254/latest/meta-data"));
    }

    #[test]
    fn what_nobody_named_is_not_asked_at_a_private_address() {
        let transport = Transport::new(Duration::from_secs(1));
        for url in ["https://127.0.0.1:5000", "https://localhost", "https://[fd00::1]"] {
            let refused = transport.client(&url.parse().expect("a URL"), AddressPolicy::PublicOnly);
            assert!(matches!(refused, Err(Error::NotAllowed { .. })), "{url}");
        }
    }
}
