//! Everything decided, in the types of those who use it.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubcap_cache::{RemovedRules, TagRules, Ttl};
use hubcap_oci::{Pattern, Registry, RegistryPattern};
use hubcap_proxy::{ConnectConfig, HostName};
use hubcap_store::Limit;
use hubcap_upstream::UpstreamConfig;
use url::Url;

use super::environment::Variables;
use super::given::Settings;
use super::logins::{self, Login};
use super::units::Text;
use super::upstream::Upstream;
use super::upstreams::{self, Upstreams};
use crate::lockfile::Lock;

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) names: Vec<HostName>,
    pub(crate) bridges: Vec<SocketAddrV4>,
    pub(crate) store: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) offline: bool,
    pub(crate) tags: TagRules,
    pub(crate) removed: RemovedRules,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) read_ahead: bool,
    pub(crate) upstream_timeout: Duration,
    pub(crate) max_size: Option<Limit>,
    pub(crate) min_free: Limit,
    pub(crate) pins: Vec<Pattern>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) allowed: Vec<RegistryPattern>,
    /// Logins for registries that may not be asked.
    pub(crate) idle_logins: Vec<Login>,
    pub(crate) proxy: Option<ConnectConfig>,
    pub(crate) restore: Option<Archive>,
    pub(crate) given: Given,
}

/// What a user has said by a flag, a variable or the file; the rest is a default, which says nothing of a daemon that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) state: bool,
    pub(crate) store: bool,
    /// Nobody has said the store, and it is the one of a GitHub job.
    pub(crate) is_jobs_store: bool,
    pub(crate) listen: bool,
    pub(crate) registries: Vec<Registry>,
    pub(crate) patterns: Vec<RegistryPattern>,
}

/// The URL of a store's archive. It is no flag and no key of a file: whoever knows it may read the archive.
#[derive(Clone)]
pub(crate) struct Archive(pub(crate) Url);

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an archive")
    }
}

/// A lock that tags are answered from, and its file.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) path: PathBuf,
    pub(crate) lock: Lock,
}

impl Config {
    /// Decides by the settings, and by what the variables say of the machine and of logins.
    ///
    /// # Errors
    /// Names the setting that cannot be meant.
    pub(super) fn decide(settings: Settings, variables: &Variables) -> anyhow::Result<Self> {
        let given = Given::by(&settings, variables);
        let proxy = proxy(&settings)?;
        let tags = tag_rules(&settings);
        let removed = settings.removed.iter().map(|table| (table.pattern.0.clone(), table.on_removed.0));
        let removed = RemovedRules { rules: removed.collect() };
        let logins = variables.get("HUBCAP_LOGIN").map(|text| logins::parse(text)).transpose()?;
        let Upstreams { mut named, allowed } = upstreams::decide(settings.upstream)?;
        let idle_logins = upstreams::give(&logins.unwrap_or_default(), &mut named, &allowed)?;
        let store = settings.store.map_or_else(|| default_store(variables), Ok)?;
        let state = settings.state.map_or_else(|| xdg(variables, "STATE", ".local/state"), Ok)?;
        let (store, state) = (std::path::absolute(store)?, std::path::absolute(state)?);
        check_apart(&store, &state)?;
        Ok(Self {
            listen: settings.listen.map_or(SocketAddr::from(([127, 0, 0, 1], 5443)), Text::into_inner),
            http_listen: settings.http_listen.map(Text::into_inner),
            names: settings.name.into_iter().map(Text::into_inner).collect(),
            bridges: settings.bridge_listen.into_iter().map(Text::into_inner).collect(),
            store,
            state,
            offline: settings.offline.unwrap_or(false),
            tags,
            removed,
            frozen: settings.frozen.as_deref().map(Frozen::read).transpose()?,
            // One job's daemon serves what it fetches; a shared one would fetch what perhaps nobody wants.
            read_ahead: settings.read_ahead.unwrap_or_else(|| variables.contains_key("GITHUB_WORKSPACE")),
            upstream_timeout: settings.upstream_timeout.map_or(Duration::from_secs(5), Text::into_inner),
            max_size: settings.max_size.map(Text::into_inner),
            // As much as a job's own work needs.
            min_free: settings.min_free.map_or(Limit::Bytes(1 << 30), Text::into_inner),
            pins: settings.pin.into_iter().map(Text::into_inner).collect(),
            upstreams: named,
            allowed,
            idle_logins,
            proxy,
            restore: variables.get("HUBCAP_RESTORE").map(|text| Archive::read(text)).transpose()?,
            given,
        })
    }
}

impl Config {
    /// Refuses a login that no registry would get: a slip of the pen, or an upstream that was forgotten. Only who is to ask
    /// registries refuses it: `down` must put back what is changed whatever login is in its environment.
    ///
    /// # Errors
    /// Names the registry.
    pub(crate) fn check_logins(&self) -> anyhow::Result<()> {
        match self.idle_logins.first() {
            Some((name, _)) => {
                bail!("HUBCAP_LOGIN: there is no upstream {name}; --upstream {name} allows it")
            }
            None => Ok(()),
        }
    }
}

impl Given {
    fn by(settings: &Settings, variables: &Variables) -> Self {
        let mut given = Self {
            state: settings.state.is_some(),
            store: settings.store.is_some(),
            is_jobs_store: settings.store.is_none() && variables.contains_key("GITHUB_WORKSPACE"),
            listen: settings.listen.is_some(),
            ..Self::default()
        };
        for upstream in &settings.upstream {
            match upstream {
                Upstream::One(one) => given.registries.push(one.registry.clone()),
                Upstream::All(pattern) => given.patterns.push(pattern.clone()),
            }
        }
        given
    }
}

impl Archive {
    /// The error does not show the text, which may hold a signature.
    fn read(text: &str) -> anyhow::Result<Self> {
        match text.parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => bail!("HUBCAP_RESTORE: it is no URL, as https://host/archive?signature"),
        }
    }
}

impl Frozen {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let lock = Lock::read(path).context("frozen")?;
        Ok(Self { path: std::path::absolute(path)?, lock })
    }
}

/// The HTTP proxy, where it is on.
fn proxy(settings: &Settings) -> anyhow::Result<Option<ConnectConfig>> {
    let Some(Text(address)) = settings.proxy_listen else { return Ok(None) };
    let patterns =
        |list: &[Text<RegistryPattern>]| list.iter().map(|Text(one)| one.clone()).collect::<Vec<_>>();
    let (intercept, tunnel) = (patterns(&settings.proxy_intercept), patterns(&settings.proxy_tunnel));
    if let Some(wide) = intercept.iter().find(|one| one.registry().is_none() && one.domain().is_none()) {
        bail!("proxy-intercept: {wide} is under no domain that the local CA could be constrained to");
    }
    Ok(Some(ConnectConfig { address, intercept, tunnel }))
}

/// The file's `[[tags]]` in their order, then the upstreams' own.
fn tag_rules(settings: &Settings) -> TagRules {
    let tables = settings.tags.iter().map(|table| (table.pattern.0.clone(), table.ttl.0));
    let of_upstreams = settings.upstream.iter().filter_map(Upstream::tag_rule);
    TagRules {
        rules: tables.chain(of_upstreams).collect(),
        default: settings.tag_ttl.as_ref().map_or(Ttl::For(Duration::from_secs(300)), |Text(ttl)| *ttl),
    }
}

/// # Errors
/// When the state directory, which has the CA's private key, is inside the store, which is archived.
fn check_apart(store: &Path, state: &Path) -> anyhow::Result<()> {
    if real(state).starts_with(real(store)) {
        bail!(
            "the state directory {} is inside the store {}: the CA's private key would be archived with it; \
             choose another --state",
            state.display(),
            store.display()
        );
    }
    Ok(())
}

/// Where a path leads, past symbolic links and `..`. Parts that do not exist yet are taken literally.
fn real(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
        // Each step by itself: `..` behind a link leads out of where the link leads to.
        found = std::fs::canonicalize(&found).unwrap_or(found);
    }
    found
}

/// In a GitHub job in the workspace, where actions/cache finds it; elsewhere among the user's caches.
fn default_store(variables: &Variables) -> anyhow::Result<PathBuf> {
    match variables.get("GITHUB_WORKSPACE") {
        Some(workspace) => Ok(PathBuf::from(workspace).join(".hubcap")),
        None => xdg(variables, "CACHE", ".cache"),
    }
}

/// A directory of the XDG base directory specification, with hubcap's name in it.
fn xdg(variables: &Variables, kind: &str, below_home: &str) -> anyhow::Result<PathBuf> {
    let given =
        variables.get(&format!("XDG_{kind}_HOME")).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || variables.get("HOME").map(|home| PathBuf::from(home).join(below_home));
    let base = given
        .or_else(home)
        .context("neither HOME nor the XDG directories are set; use --store and --state")?;
    Ok(base.join("hubcap"))
}
