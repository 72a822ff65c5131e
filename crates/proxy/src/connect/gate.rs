//! Where a CONNECT may lead: the one place for that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::uri::Authority as Asked;
use hubcap_cache::{AddressPolicy, Cache};
use hubcap_oci::{Registry, RegistryPattern};
use tokio_rustls::TlsAcceptor;

use crate::ca::Authority;
use crate::router::App;
use crate::{ConnectConfig, Error, tls};

/// Hosts whose certificate is kept in memory; beyond, all are made anew.
const MAX_LEAVES: usize = 256;

/// What a CONNECT is answered with.
pub(crate) struct Gate {
    app: App,
    authority: Authority,
    leaves: Mutex<HashMap<String, TlsAcceptor>>,
    intercept: Vec<RegistryPattern>,
    tunnel: Vec<RegistryPattern>,
}

/// A registry that we are for a client, and its certificate.
pub(crate) struct Intercepted {
    pub(crate) app: App,
    pub(crate) registry: Registry,
    pub(crate) tls: TlsAcceptor,
}

/// Where a CONNECT leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To us, in place of a registry, whose API is at this host.
    Intercept(Registry, String),
    Tunnel {
        host: String,
        port: u16,
        policy: AddressPolicy,
    },
}

/// The names that the CA must be good for, beside this machine's.
pub(crate) fn names(cache: &Cache, config: &ConnectConfig) -> Vec<String> {
    let mut names: Vec<String> = if config.intercept.is_empty() {
        let hosts = cache.names().into_iter().map(|registry| registry.api_host().to_owned());
        hosts.chain(cache.patterns().iter().filter_map(|one| one.domain().map(Into::into))).collect()
    } else {
        let host = |one: &RegistryPattern| match one.registry() {
            Some(registry) => Some(registry.api_host().to_owned()),
            None => one.domain().map(Into::into),
        };
        config.intercept.iter().filter_map(host).collect()
    };
    names.sort();
    names.dedup();
    names
}

impl Gate {
    pub(crate) fn new(app: App, authority: Authority, config: &ConnectConfig) -> Self {
        let (intercept, tunnel) = (config.intercept.clone(), config.tunnel.clone());
        Self { app, authority, leaves: Mutex::default(), intercept, tunnel }
    }

    pub(crate) fn cache(&self) -> &Cache {
        self.app.cache()
    }

    /// Decides; an error says why not.
    pub(crate) fn route(&self, asked: Option<&Asked>) -> Result<Route, String> {
        let asked = asked.filter(|asked| !asked.as_str().contains('@'));
        let (host, port) = asked
            .and_then(|asked| {
                Some((asked.host().trim_matches(['[', ']']).to_ascii_lowercase(), asked.port_u16()?))
            })
            .ok_or("CONNECT needs a host and a port, as ghcr.io:443")?;
        let named = format!("{host}:{port}").parse::<Registry>().ok();
        if let Some(registry) = &named
            && self.intercepts(registry, &host)
        {
            return Ok(Route::Intercept(registry.clone(), host));
        }
        if named.is_some_and(|named| self.tunnel.iter().any(|one| one.matches(&named))) {
            return Ok(Route::Tunnel { host, port, policy: AddressPolicy::Any });
        }
        if port != 443 {
            let why = format!("only port 443 is tunnelled to; --proxy-tunnel {host}:{port} allows another");
            return Err(why);
        }
        Ok(Route::Tunnel { host, port, policy: AddressPolicy::PublicOnly })
    }

    fn intercepts(&self, registry: &Registry, host: &str) -> bool {
        // Docker Hub's other hosts are no registry's.
        if !self.cache().knows(registry) || host != registry.api_host() {
            return false;
        }
        if !self.intercept.is_empty() {
            return self.intercept.iter().any(|one| one.matches(registry));
        }
        // One that only "*" allows has no domain that the CA could be constrained to.
        let by_domain = |one: &RegistryPattern| one.domain().is_some() && one.matches(registry);
        self.cache().names().contains(registry) || self.cache().patterns().iter().any(by_domain)
    }

    /// Makes, or finds, the certificate for a host.
    pub(crate) fn intercepted(&self, registry: Registry, host: &str) -> Result<Intercepted, Error> {
        let app = self.app.clone();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = leaves.get(host) {
            return Ok(Intercepted { app, registry, tls: tls.clone() });
        }
        let tls = tls::acceptor(&self.authority, &[host.to_owned()])?;
        if leaves.len() >= MAX_LEAVES {
            leaves.clear();
        }
        leaves.insert(host.to_owned(), tls.clone());
        Ok(Intercepted { app, registry, tls })
    }
}
