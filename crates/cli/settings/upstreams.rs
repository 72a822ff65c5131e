//! Which registries may be asked, and where they are.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use hubcap_oci::{ParseError, Registry, RegistryPattern};
use hubcap_upstream::{Credentials, Secret, UpstreamConfig, default_url};
use url::Url;

use super::file::File;
use super::logins;
use crate::args::Common;

#[derive(Default)]
struct Found {
    named: BTreeMap<Registry, UpstreamConfig>,
    allowed: Vec<RegistryPattern>,
}

/// The registries: the default, then the file's, the variable's and the flags', each replacing those of its name.
pub(super) fn merge(
    flags: &Common,
    environment: &BTreeMap<String, String>,
    file: File,
) -> anyhow::Result<(Vec<UpstreamConfig>, Vec<RegistryPattern>)> {
    let mut found = Found::default();
    found.put(Registry::DOCKER_HUB, None, None)?;
    for (name, upstream) in file.upstream {
        let credentials = match (upstream.username, upstream.password) {
            (Some(username), Some(password)) => {
                Some(Credentials { username, password: Secret::new(password) })
            }
            (None, None) => None,
            _ => bail!("upstream {name}: username and password go together"),
        };
        found.put(&name, upstream.url.as_deref(), credentials)?;
    }
    let listed =
        environment.get("HUBCAP_UPSTREAM").into_iter().flat_map(|list| list.split(',')).map(str::trim);
    for text in listed.chain(flags.upstream.iter().map(String::as_str)) {
        match text.split_once('=') {
            Some((name, url)) => found.put(name, Some(url), None)?,
            None => found.put(text, None, None)?,
        }
    }
    let logins = environment.get("HUBCAP_LOGIN").map(|text| logins::parse(text)).transpose()?;
    for (registry, credentials) in logins.unwrap_or_default() {
        found.login(&registry, credentials)?;
    }
    Ok((found.named.into_values().collect(), found.allowed))
}

impl Found {
    /// Takes an entry: a name with its URL, a name alone, which is where it is, or a pattern of such names.
    fn put(&mut self, name: &str, url: Option<&str>, credentials: Option<Credentials>) -> anyhow::Result<()> {
        if name.contains('*') {
            if url.is_some() || credentials.is_some() {
                bail!("upstream {name}: a URL or a login is for one registry; name it");
            }
            let pattern: RegistryPattern = name
                .parse()
                .map_err(|error: ParseError| anyhow!("upstream {:?}: {}", without_login(name), error.why))?;
            if !self.allowed.contains(&pattern) {
                self.allowed.push(pattern);
            }
            return Ok(());
        }
        // Not the error's own text: it quotes what may have a login in it.
        let bad = |error: ParseError| {
            let shown = without_login(name);
            anyhow!(
                "upstream {shown:?}: it is written NAME, NAME=URL, or as a pattern of names; {}",
                error.why
            )
        };
        let registry: Registry = name.parse().map_err(bad)?;
        let url = match url {
            Some(url) => Url::parse(url)
                .with_context(|| format!("upstream {name}: {:?} is no URL", without_login(url)))?,
            None => default_url(&registry).with_context(|| format!("upstream {name}: it needs a URL"))?,
        };
        // A flag that says where a registry is leaves its login as it is.
        let credentials = credentials.or_else(|| self.named.remove(&registry)?.credentials);
        self.named.insert(registry.clone(), UpstreamConfig { registry, url, credentials });
        Ok(())
    }

    fn login(&mut self, registry: &Registry, credentials: Credentials) -> anyhow::Result<()> {
        if !self.named.contains_key(registry) {
            if !hubcap_upstream::is_built_in(registry)
                && !self.allowed.iter().any(|one| one.matches(registry))
            {
                bail!("HUBCAP_LOGIN: there is no upstream {registry}; --upstream {registry} allows it");
            }
            self.put(registry.as_str(), None, None)?;
        }
        if let Some(upstream) = self.named.get_mut(registry) {
            upstream.credentials = Some(credentials);
        }
        Ok(())
    }
}

/// What may be shown of a URL that cannot be read.
fn without_login(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}
