//! The clients for HTTPS, and for whatever goes through a proxy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};
use tower::util::MapFutureLayer;
use url::Url;

use crate::address::{AddressPolicy, Resolver, is_loopback, is_private};
use crate::connection::{self, Connection, opening};
use crate::error::Error;
use crate::request::USER_AGENT;

/// The clients, each made at its first request: reading the system's roots costs more than a whole start.
#[derive(Debug)]
pub(super) struct Clients {
    timeout: Duration,
    proxied: Pair,
    direct: Pair,
    /// For plain HTTP on this machine: no roots are read for it, which is most of what a client costs.
    unencrypted: Pair,
    /// For hosts that another machine of the network has named: no name leads to this one.
    elsewhere: Pair,
    /// For registries that only a pattern allows, and for redirects of a public registry: no name leads to a private address.
    public: Pair,
}

/// A client that keeps its connections, and one that opens a connection for each request.
#[derive(Debug, Default)]
struct Pair {
    pooled: OnceLock<Result<Client, String>>,
    fresh: OnceLock<Result<Client, String>>,
}

impl Clients {
    pub(super) fn new(timeout: Duration) -> Self {
        let pair = Pair::default;
        Self {
            timeout,
            proxied: pair(),
            direct: pair(),
            unencrypted: pair(),
            elsewhere: pair(),
            public: pair(),
        }
    }

    /// The client for a URL: `HTTPS_PROXY` and its like are for other machines, never for this one.
    pub(super) fn get(
        &self,
        url: &Url,
        policy: AddressPolicy,
        connection: Connection,
    ) -> Result<&Client, Error> {
        if policy == AddressPolicy::PublicOnly {
            if is_private(url) {
                let host = url.host_str().unwrap_or_default();
                return Err(Error::NotAllowed { why: format!("{host} is a private address") });
            }
            self.make(&self.public, connection, policy, |builder| builder)
        } else if policy == AddressPolicy::Elsewhere {
            if is_loopback(url) {
                return Err(Error::NotAllowed { why: "another machine leads to this one".into() });
            }
            self.make(&self.elsewhere, connection, policy, |builder| builder)
        } else if is_loopback(url) && url.scheme() == "http" {
            self.make(&self.unencrypted, connection, policy, |builder| builder.no_proxy().tls_certs_only([]))
        } else if is_loopback(url) {
            self.make(&self.direct, connection, policy, ClientBuilder::no_proxy)
        } else {
            self.make(&self.proxied, connection, policy, |builder| builder)
        }
    }

    fn make<'a>(
        &self,
        pair: &'a Pair,
        connection: Connection,
        policy: AddressPolicy,
        with: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<&'a Client, Error> {
        let slot = match connection {
            Connection::Pooled => &pair.pooled,
            Connection::Fresh => &pair.fresh,
        };
        let client = slot.get_or_init(|| {
            // One connection a stream: over HTTP/2 all would share one connection's speed.
            let mut builder = Client::builder()
                .http1_only()
                // As Go's clients read them.
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .http1_allow_spaces_after_header_name_in_responses(true)
                .http1_ignore_invalid_headers_in_responses(true)
                .http1_max_headers(connection::MAX_HEADERS)
                .redirect(redirect::Policy::none())
                .connect_timeout(self.timeout)
                .dns_resolver(Arc::new(Resolver(policy)))
                .connector_layer(MapFutureLayer::new(opening))
                .pool_idle_timeout(connection::IDLE)
                .user_agent(USER_AGENT)
                .tcp_nodelay(true);
            if connection == Connection::Fresh {
                builder = builder.pool_max_idle_per_host(0);
            }
            with(builder).build().map_err(|error| Error::connection(error).to_string())
        });
        client.as_ref().map_err(|why| Error::unavailable(format!("no TLS client can be made: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_named_is_not_asked_at_a_private_address() {
        let clients = Clients::new(Duration::from_secs(1));
        for url in ["https://127.0.0.1:5000", "https://localhost", "https://[fd00::1]"] {
            let url = url.parse().expect("a URL");
            let refused = clients.get(&url, AddressPolicy::PublicOnly, Connection::Pooled);
            assert!(matches!(refused, Err(Error::NotAllowed { .. })), "{url}");
        }
    }
}
