//! The parsers of what a client sends, for `fuzz/` alone.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use hubcap_cache::TunnelAddresses;
use hubcap_oci::{Endpoint, Registry};

use crate::connect::policy::{Policy, Route};
use crate::host::{HostName, Names};
use crate::resolve::{Resolver, Selector};
use crate::router::Parsed;

/// Reads a text as the Host, the target and the CONNECT of a request. Each leads only where somebody has allowed it.
pub fn request(text: &str) {
    let allowed =
        |registry: &Registry| registry.as_str() == "docker.io" || registry.as_str() == "registry:5000";
    host(text);
    if let Ok(uri) = text.parse::<Uri>() {
        let Parsed { endpoint, namespace } = Parsed::new(&uri);
        let resolver = Resolver { default_registry: Registry::docker_hub() };
        let repository = endpoint.ok().as_ref().and_then(Endpoint::repository).cloned();
        if let Some(repository) = repository
            && let Ok(target) =
                resolver.resolve(Selector::new(None, namespace.as_deref()), &repository, allowed)
        {
            assert!(allowed(&target.registry), "{target}");
        }
    }
    let named = ["docker.io", "registry:5000"].iter().filter_map(|name| name.parse().ok()).collect();
    let policy = Policy::new(named, &[], &[], &[]);
    let Ok(authority) = text.parse::<Authority>() else { return };
    match policy.route(Some(&authority), allowed) {
        Ok(Route::Intercept { registry, .. }) => assert!(allowed(&registry), "{registry}"),
        Ok(Route::Tunnel { port, addresses, .. }) => {
            assert!(port == 443 && addresses == TunnelAddresses::PublicOnly, "{text}");
        }
        Err(_) => {}
    }
}

/// A Host that is answered is one that no stranger can have.
fn host(text: &str) {
    let _ = text.parse::<HostName>();
    let Ok(value) = HeaderValue::from_str(text) else { return };
    if !Names(Vec::new()).have(&value) || text.is_empty() {
        return;
    }
    // As a browser would read it: no more than a name or an address, and a port.
    let name = text.rsplit_once('@').map_or(text, |(_, name)| name);
    let name = match name.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => name.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(is_name) {
        return;
    }
    let is_private_use = name.ends_with(".internal") || name.ends_with(".localhost");
    assert!(!name.contains('.') || name.parse::<IpAddr>().is_ok() || is_private_use, "{text}");
}
