//! Which registries may be asked, where they are, and with which login.

use std::collections::BTreeMap;

use anyhow::Context as _;
use hubcap_oci::{Registry, RegistryPattern};
use hubcap_upstream::{Credentials, OriginConfig, UpstreamConfig, default_url};
use url::Url;

use super::logins::Login;
use super::upstream::{One, Place, Upstream};

/// The registries that may be asked.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) named: Vec<UpstreamConfig>,
    pub(super) allowed: Vec<RegistryPattern>,
}

/// Docker Hub, and those given.
///
/// # Errors
/// When a registry's URL is not known.
pub(super) fn decide(given: Vec<Upstream>) -> anyhow::Result<Upstreams> {
    let mut named = BTreeMap::new();
    let mut allowed = Vec::new();
    put(&mut named, at_its_own_address(Registry::docker_hub())?);
    for upstream in given {
        match upstream {
            Upstream::One(one) => put(&mut named, configured(*one)?),
            Upstream::All(pattern) if allowed.contains(&pattern) => {}
            Upstream::All(pattern) => allowed.push(pattern),
        }
    }
    Ok(Upstreams { named: named.into_values().collect(), allowed })
}

/// Gives the logins of `HUBCAP_LOGIN`, which win over the file's. Those come back that are for no registry that may be asked: a
/// daemon that runs may be allowed to ask it.
///
/// # Errors
/// When a registry's URL is not known.
pub(super) fn give(
    logins: &[Login],
    named: &mut Vec<UpstreamConfig>,
    allowed: &[RegistryPattern],
) -> anyhow::Result<Vec<Login>> {
    let mut idle = Vec::new();
    for (name, login) in logins {
        let mut is_known = false;
        for origin in named.iter_mut().flat_map(|upstream| &mut upstream.origins) {
            if is_at(&origin.url, name) {
                (origin.credentials, is_known) = (Some(login.clone()), true);
            }
        }
        if let Some(upstream) = named.iter_mut().find(|one| one.registry == *name) {
            log_in(upstream, login.clone());
        } else if hubcap_upstream::is_built_in(name) || allowed.iter().any(|one| one.matches(name)) {
            let mut upstream = at_its_own_address(name.clone())?;
            log_in(&mut upstream, login.clone());
            named.push(upstream);
        } else if !is_known {
            idle.push((name.clone(), login.clone()));
        }
    }
    named.sort_by(|one, other| one.registry.cmp(&other.registry));
    Ok(idle)
}

fn put(named: &mut BTreeMap<Registry, UpstreamConfig>, upstream: UpstreamConfig) {
    named.insert(upstream.registry.clone(), upstream);
}

fn at_its_own_address(registry: Registry) -> anyhow::Result<UpstreamConfig> {
    let url = own_address(&registry)?;
    Ok(UpstreamConfig { registry, origins: vec![OriginConfig { url, credentials: None }], stale_tags: false })
}

fn configured(one: One) -> anyhow::Result<UpstreamConfig> {
    let One { registry, origins, login, stale_tags, .. } = one;
    let mut upstream = at_its_own_address(registry.clone()).or_else(|error| {
        let has_urls = !origins.is_empty() && origins.iter().all(|place| place.url.is_some());
        let upstream = UpstreamConfig { registry: registry.clone(), origins: Vec::new(), stale_tags: false };
        if has_urls { Ok(upstream) } else { Err(error) }
    })?;
    if !origins.is_empty() {
        let place = |Place { url, login }| {
            let url = url.map_or_else(|| own_address(&registry), Ok)?;
            anyhow::Ok(OriginConfig { url, credentials: login })
        };
        upstream.origins = origins.into_iter().map(place).collect::<anyhow::Result<_>>()?;
    }
    upstream.stale_tags = stale_tags.unwrap_or(false);
    if let Some(login) = login {
        log_in(&mut upstream, login);
    }
    Ok(upstream)
}

fn own_address(registry: &Registry) -> anyhow::Result<Url> {
    default_url(registry).with_context(|| format!("upstream {registry}: it needs a URL"))
}

/// Gives a registry's login to its own address, where that is among its origins, else to the first, which stands for it.
fn log_in(upstream: &mut UpstreamConfig, login: Credentials) {
    let own = upstream.origins.iter().position(|origin| is_at(&origin.url, &upstream.registry));
    if let Some(origin) = upstream.origins.get_mut(own.unwrap_or(0)) {
        origin.credentials = Some(login);
    }
}

/// Whether an address is a registry's own.
fn is_at(url: &Url, registry: &Registry) -> bool {
    default_url(registry).is_some_and(|own| {
        (url.host(), url.port_or_known_default()) == (own.host(), own.port_or_known_default())
    })
}
