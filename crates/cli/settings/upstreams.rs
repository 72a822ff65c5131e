//! Which registries may be asked, and where they are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use hubcap_cache::Ttl;
use hubcap_oci::{ParseError, Pattern, Registry, RegistryPattern};
use hubcap_upstream::{Credentials, Secret, UpstreamConfig, default_url};
use url::Url;

use super::environment::Variables;
use super::logins;
use super::units::Text;

/// An upstream as a user gives it. Its errors show neither a login nor a password.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Upstream {
    /// A registry; without a URL it is where hubcap knows it to be.
    One { registry: Registry, url: Option<Url>, login: Option<Credentials>, tag_ttl: Option<Ttl> },
    /// All registries that a pattern matches, each at its own name.
    All(RegistryPattern),
}

impl Upstream {
    pub(super) const fn at(registry: Registry, url: Url) -> Self {
        Self::One { registry, url: Some(url), login: None, tag_ttl: None }
    }

    pub(super) const fn allow(pattern: RegistryPattern) -> Self {
        Self::All(pattern)
    }

    /// The rule for the tags of this registry, where it has one.
    pub(super) fn tag_rule(&self) -> Option<(Pattern, Ttl)> {
        let Self::One { registry, tag_ttl: Some(ttl), .. } = self else { return None };
        // A registry's name is the beginning of a pattern.
        Some((format!("{registry}/*").parse().ok()?, *ttl))
    }

    fn new(name: &str, url: Option<&str>) -> Result<Self, String> {
        let shown = without_login(name);
        if name.contains('*') {
            if url.is_some() {
                return Err(only_for_one(name));
            }
            let bad = |error: ParseError| format!("upstream {shown:?}: {}", error.why);
            return name.parse().map(Self::All).map_err(bad);
        }
        // Not the error's own text: it quotes what may have a login in it.
        let bad = |error: ParseError| {
            format!(
                "upstream {shown:?}: it is written NAME, NAME=URL, or as a pattern of names; {}",
                error.why
            )
        };
        let registry = name.parse().map_err(bad)?;
        let bad_url = |url| format!("upstream {name}: {:?} is no URL", without_login(url));
        let url =
            url.map(|url| Url::parse(url).map_err(|why| format!("{}: {why}", bad_url(url)))).transpose()?;
        Ok(Self::One { registry, url, login: None, tag_ttl: None })
    }
}

/// `NAME`, `NAME=URL` or a pattern of names.
impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, url)) => Self::new(name, Some(url)),
            None => Self::new(text, None),
        }
    }
}

/// Reads an [`Upstream`] of the command line. clap's own parser would quote the text in its error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parser;

impl TypedValueParser for Parser {
    type Value = Upstream;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Upstream, clap::Error> {
        let text = value.to_str().ok_or("upstream: it is not UTF-8".to_owned());
        let invalid = |why| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n"));
        text.and_then(str::parse).map_err(invalid)
    }
}

/// The tables of the file: `[upstream."docker.io"]`.
pub(super) mod tables {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Table {
        url: Option<String>,
        #[serde(skip_serializing)]
        username: Option<String>,
        #[serde(skip_serializing)]
        password: Option<String>,
        tag_ttl: Option<Text<Ttl>>,
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Upstream>, D::Error> {
        let tables = BTreeMap::<String, Table>::deserialize(deserializer)?;
        tables.into_iter().map(|(name, table)| read(&name, table).map_err(de::Error::custom)).collect()
    }

    fn read(name: &str, table: Table) -> Result<Upstream, String> {
        let mut upstream = Upstream::new(name, table.url.as_deref())?;
        let given = match (table.username, table.password) {
            (Some(username), Some(password)) => {
                Some(Credentials { username, password: Secret::new(password) })
            }
            (None, None) => None,
            _ => return Err(format!("upstream {name}: username and password go together")),
        };
        let ttl = table.tag_ttl.map(Text::into_inner);
        match &mut upstream {
            Upstream::One { login, tag_ttl, .. } => (*login, *tag_ttl) = (given, ttl),
            Upstream::All(_) if given.is_some() || ttl.is_some() => return Err(only_for_one(name)),
            Upstream::All(_) => {}
        }
        Ok(upstream)
    }

    /// Without logins.
    pub(in super::super) fn serialize<S: Serializer>(
        list: &[Upstream],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(list.iter().map(|upstream| match upstream {
            Upstream::One { registry, url, tag_ttl, .. } => {
                let url = url.as_ref().map(Url::to_string);
                (registry.to_string(), Table { url, tag_ttl: tag_ttl.map(Text), ..Table::default() })
            }
            Upstream::All(pattern) => (pattern.to_string(), Table::default()),
        }))
    }
}

/// The registries that may be asked.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) named: Vec<UpstreamConfig>,
    pub(super) allowed: Vec<RegistryPattern>,
}

/// Docker Hub, then those given, each replacing the one of its name. The logins of `HUBCAP_LOGIN` win over the file's.
///
/// # Errors
/// When a registry's URL is not known, or a login is for a registry that is not allowed.
pub(super) fn decide(given: Vec<Upstream>, variables: &Variables) -> anyhow::Result<Upstreams> {
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
    let logins = variables.get("HUBCAP_LOGIN").map(|text| logins::parse(text)).transpose()?;
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

fn only_for_one(name: &str) -> String {
    format!("upstream {name}: a URL, a login or a tag-ttl is for one registry; name it")
}

/// What may be shown of a text that cannot be read: what follows the login of a URL.
fn without_login(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}
