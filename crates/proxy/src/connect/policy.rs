//! Where a CONNECT may lead: the one place that decides it.

use http::uri::Authority;
use hubcap_cache::TunnelAddresses;
use hubcap_oci::{Registry, RegistryPattern};

/// Which registries are intercepted, and to which other hosts tunnels are allowed.
pub(crate) struct Policy {
    /// The registries with a name in hubcap's configuration, or built in.
    named: Vec<Registry>,
    /// The patterns of other registries that hubcap may ask.
    patterns: Vec<RegistryPattern>,
    /// The registries to intercept; empty: all that the CA can be constrained to.
    intercept: Vec<RegistryPattern>,
    /// The hosts and ports to tunnel to beside port 443 of public addresses.
    tunnel: Vec<RegistryPattern>,
}

/// Where a CONNECT leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To hubcap, in place of a registry whose API is at `host`.
    Intercept { registry: Registry, host: String },
    /// To another host.
    Tunnel { host: String, port: u16, addresses: TunnelAddresses },
}

impl Policy {
    pub(crate) fn new(
        named: Vec<Registry>,
        patterns: &[RegistryPattern],
        intercept: &[RegistryPattern],
        tunnel: &[RegistryPattern],
    ) -> Self {
        Self { named, patterns: patterns.into(), intercept: intercept.into(), tunnel: tunnel.into() }
    }

    /// The hosts and domains that the CA must be good for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = if self.intercept.is_empty() {
            let hosts = self.named.iter().map(|registry| registry.api_host().to_owned());
            hosts.chain(self.patterns.iter().filter_map(|pattern| pattern.domain().map(Into::into))).collect()
        } else {
            self.intercept.iter().filter_map(host_or_domain).collect()
        };
        names.sort();
        names.dedup();
        names
    }

    /// Decides where a CONNECT for `authority` leads; an error says why nowhere. `allowed` tells whether hubcap may ask a
    /// registry.
    pub(crate) fn route(
        &self,
        authority: Option<&Authority>,
        allowed: impl Fn(&Registry) -> bool,
    ) -> Result<Route, String> {
        let (host, port) =
            authority.and_then(host_and_port).ok_or("CONNECT needs a host and a port, as ghcr.io:443")?;
        let named = format!("{host}:{port}").parse::<Registry>().ok();
        if let Some(registry) = &named
            // Docker Hub's other hosts are no registry's.
            && host == registry.api_host()
            && allowed(registry)
            && self.intercepts(registry)
        {
            return Ok(Route::Intercept { registry: registry.clone(), host });
        }
        if named.is_some_and(|named| self.tunnel.iter().any(|pattern| pattern.matches(&named))) {
            return Ok(Route::Tunnel { host, port, addresses: TunnelAddresses::Any });
        }
        if port != 443 {
            return Err(format!(
                "only port 443 is tunnelled to; --proxy-tunnel {host}:{port} allows another"
            ));
        }
        Ok(Route::Tunnel { host, port, addresses: TunnelAddresses::PublicOnly })
    }

    fn intercepts(&self, registry: &Registry) -> bool {
        if !self.intercept.is_empty() {
            return self.intercept.iter().any(|pattern| pattern.matches(registry));
        }
        // A registry that only "*" allows has no domain that the CA could be constrained to.
        self.named.contains(registry)
            || self.patterns.iter().any(|pattern| pattern.domain().is_some() && pattern.matches(registry))
    }
}

fn host_or_domain(pattern: &RegistryPattern) -> Option<String> {
    match pattern.registry() {
        Some(registry) => Some(registry.api_host().to_owned()),
        None => pattern.domain().map(Into::into),
    }
}

/// The host in lowercase, without the brackets of an IPv6 address, and the port; `None` without a port or with a login.
fn host_and_port(authority: &Authority) -> Option<(String, u16)> {
    let port = authority.port_u16().filter(|_| !authority.as_str().contains('@'))?;
    Some((authority.host().trim_matches(['[', ']']).to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<RegistryPattern> {
        texts.iter().map(|text| text.parse().expect("a pattern")).collect()
    }

    fn policy(intercept: &[&str], tunnel: &[&str]) -> Policy {
        let named = ["docker.io", "ghcr.io", "registry:5000"];
        let named = named.map(|name| name.parse().expect("a registry")).into();
        Policy::new(named, &patterns(&["*.azurecr.io", "*"]), &patterns(intercept), &patterns(tunnel))
    }

    fn route(policy: &Policy, authority: &str) -> Result<Route, String> {
        let authority: Authority = authority.parse().expect("an authority");
        policy.route(Some(&authority), |registry| registry.as_str() != "closed.azurecr.io")
    }

    fn intercepted(policy: &Policy, authority: &str) -> Option<String> {
        match route(policy, authority) {
            Ok(Route::Intercept { registry, .. }) => Some(registry.to_string()),
            _ => None,
        }
    }

    fn tunnelled(policy: &Policy, authority: &str) -> Option<TunnelAddresses> {
        match route(policy, authority) {
            Ok(Route::Tunnel { addresses, .. }) => Some(addresses),
            _ => None,
        }
    }

    #[test]
    fn a_registry_that_the_ca_can_be_constrained_to_is_intercepted() {
        let policy = policy(&[], &[]);
        for (authority, registry) in [
            ("ghcr.io:443", "ghcr.io"),
            ("GHCR.io:443", "ghcr.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("registry:5000", "registry:5000"),
            ("mine.azurecr.io:443", "mine.azurecr.io"),
        ] {
            assert_eq!(intercepted(&policy, authority).as_deref(), Some(registry), "{authority}");
        }
        for authority in ["docker.io:443", "auth.docker.io:443", "closed.azurecr.io:443", "other.example:443"]
        {
            assert_eq!(intercepted(&policy, authority), None, "{authority}");
        }
    }

    #[test]
    fn a_list_of_registries_to_intercept_replaces_the_default() {
        let policy = policy(&["ghcr.io", "*.example.com"], &[]);
        assert!(intercepted(&policy, "ghcr.io:443").is_some());
        assert!(intercepted(&policy, "a.example.com:443").is_some());
        assert!(intercepted(&policy, "registry-1.docker.io:443").is_none());
        assert_eq!(policy.names(), ["example.com", "ghcr.io"]);
    }

    #[test]
    fn a_tunnel_leads_to_port_443_of_public_addresses() {
        let policy = policy(&[], &[]);
        assert_eq!(tunnelled(&policy, "other.example:443"), Some(TunnelAddresses::PublicOnly));
        assert_eq!(tunnelled(&policy, "[::1]:443"), Some(TunnelAddresses::PublicOnly));
        assert_eq!(tunnelled(&policy, "10.0.0.1:443"), Some(TunnelAddresses::PublicOnly));
        let refused = route(&policy, "other.example:22").expect_err("a refusal");
        assert!(refused.contains("--proxy-tunnel other.example:22"), "{refused}");
    }

    #[test]
    fn a_host_that_is_allowed_by_name_may_be_anywhere() {
        let policy = policy(&[], &["10.0.0.1:8443", "inner.example"]);
        assert_eq!(tunnelled(&policy, "10.0.0.1:8443"), Some(TunnelAddresses::Any));
        assert_eq!(tunnelled(&policy, "inner.example:443"), Some(TunnelAddresses::Any));
        assert!(route(&policy, "10.0.0.1:22").is_err());
    }

    #[test]
    fn an_authority_without_a_port_or_with_a_login_is_refused() {
        let policy = policy(&[], &[]);
        assert!(policy.route(None, |_| true).is_err());
        assert!(route(&policy, "ghcr.io").is_err());
        assert!(route(&policy, "ghcr.io@evil.example:443").is_err());
    }

    #[test]
    fn the_ca_is_for_the_hosts_of_named_registries_and_the_domains_of_patterns() {
        assert_eq!(policy(&[], &[]).names(), ["azurecr.io", "ghcr.io", "registry", "registry-1.docker.io"]);
    }
}
