//! Which registries may be asked, where they are, and with which login.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use hubcap_oci::{Registry, RegistryPattern};
use hubcap_upstream::{Credentials, UpstreamConfig, default_url};
use url::Url;

use super::logins;
use super::upstream::Upstream;

/// The registries that may be asked.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) named: Vec<UpstreamConfig>,
    pub(super) allowed: Vec<RegistryPattern>,
}

/// Docker Hub, then those given, each replacing the one of its name. `logins` is the text of
/// `HUBCAP_LOGIN`, which wins over the file's logins.
///
/// # Errors
/// When a registry's URL is not known, or a login is for a registry that is not allowed.
pub(super) fn decide(given: Vec<Upstream>, logins: Option<&str>) -> anyhow::Result<Upstreams> {
    let mut named = BTreeMap::new();
    let mut allowed = Vec::new();
    put(&mut named, Registry::docker_hub(), None, None)?;
    for upstream in given {
        match upstream {
            Upstream::One { registry, url, login, .. } => put(&mut named, registry, url, login)?,
            Upstream::All(pattern) if allowed.contains(&pattern) => {}
            Upstream::All(pattern) => allowed.push(pattern),
        }
    }
    let logins = logins.map(logins::parse).transpose()?;
    for (registry, login) in logins.unwrap_or_default() {
        let is_allowed = named.contains_key(&registry)
            || hubcap_upstream::is_built_in(&registry)
            || allowed.iter().any(|one| one.matches(&registry));
        if !is_allowed {
            bail!("HUBCAP_LOGIN: there is no upstream {registry}; --upstream {registry} allows it");
        }
        let url = named.get(&registry).map(|upstream| upstream.url.clone());
        put(&mut named, registry, url, Some(login))?;
    }
    Ok(Upstreams { named: named.into_values().collect(), allowed })
}

/// Adds or replaces one. Where no login is given, the one before stays: a flag may say where a registry is, and the file
/// has its login.
fn put(
    named: &mut BTreeMap<Registry, UpstreamConfig>,
    registry: Registry,
    url: Option<Url>,
    login: Option<Credentials>,
) -> anyhow::Result<()> {
    let url = url
        .or_else(|| default_url(&registry))
        .with_context(|| format!("upstream {registry}: it needs a URL"))?;
    let credentials = login.or_else(|| named.remove(&registry)?.credentials);
    named.insert(registry.clone(), UpstreamConfig { registry, url, credentials });
    Ok(())
}
