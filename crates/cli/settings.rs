//! One configuration out of flags, variables, a file and defaults, in that order.

mod file;
mod logins;
mod units;
mod upstreams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubcap_cache::{TagRules, Ttl};
use hubcap_oci::{Pattern, Registry, RegistryPattern};
use hubcap_proxy::ConnectConfig;
use hubcap_store::Limit;
use hubcap_upstream::UpstreamConfig;
use url::Url;

use crate::args::Common;
use crate::lockfile::Lock;
use file::File;

/// Everything decided, in the types of those who use it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) store: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) offline: bool,
    pub(crate) tags: TagRules,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) read_ahead: bool,
    pub(crate) upstream_timeout: Duration,
    pub(crate) max_size: Option<Limit>,
    pub(crate) min_free: Limit,
    pub(crate) pins: Vec<Pattern>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) allowed: Vec<RegistryPattern>,
    pub(crate) proxy: Option<ConnectConfig>,
    pub(crate) restore: Option<Archive>,
}

/// Where the archive of a store is. No flag and no key of a file: who knows the URL may read the archive.
#[derive(Clone)]
pub(crate) struct Archive(pub(crate) Url);

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an archive")
    }
}

/// A lock that tags are answered from, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) path: PathBuf,
    pub(crate) lock: Lock,
}

impl Frozen {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let lock = Lock::read(path).context("frozen")?;
        Ok(Self { path: std::path::absolute(path)?, lock })
    }
}

/// The variables that hubcap reads; any other HUBCAP_ one is a slip of somebody's pen.
const VARIABLES: [&str; 20] = [
    "HUBCAP_LISTEN",
    "HUBCAP_HTTP_LISTEN",
    "HUBCAP_STORE",
    "HUBCAP_STATE",
    "HUBCAP_UPSTREAM",
    "HUBCAP_CONFIG",
    "HUBCAP_OFFLINE",
    "HUBCAP_TAG_TTL",
    "HUBCAP_UPSTREAM_TIMEOUT",
    "HUBCAP_FROZEN",
    "HUBCAP_READ_AHEAD",
    "HUBCAP_MAX_SIZE",
    "HUBCAP_MIN_FREE",
    "HUBCAP_PIN",
    "HUBCAP_LOGIN",
    "HUBCAP_PROXY_LISTEN",
    "HUBCAP_PROXY_INTERCEPT",
    "HUBCAP_PROXY_TUNNEL",
    "HUBCAP_RESTORE",
    "HUBCAP_LOG",
];

/// Loads the configuration of this process.
pub(crate) fn load(flags: &Common) -> anyhow::Result<Config> {
    let environment = environment()?;
    let unknown = |name: &&String| name.starts_with("HUBCAP_") && !VARIABLES.contains(&name.as_str());
    for name in environment.keys().filter(unknown) {
        tracing::warn!(target: "hubcap::config", "the variable {name} is none of hubcap's; it is ignored");
    }
    let path = flags.config.clone().or_else(|| environment.get("HUBCAP_CONFIG").map(PathBuf::from));
    let file = path.map(|path| File::read(&path)).transpose()?.unwrap_or_default();
    merge(flags, &environment, file)
}

/// The variables of this process that are set to something. Other programs' may be in any encoding.
fn environment() -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (name, value) in std::env::vars_os().filter(|(_, value)| !value.is_empty()) {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(found.insert(name, value)),
            Err(_) if name.starts_with("HUBCAP_") => bail!("{name}: its value is not UTF-8"),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// The store alone, for commands that need nothing else.
pub(crate) fn store(flag: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    load(&Common { store: flag, ..Common::default() }).map(|config| config.store)
}

fn merge(flags: &Common, environment: &BTreeMap<String, String>, file: File) -> anyhow::Result<Config> {
    let var = |name: &str| environment.get(name).map(String::as_str);
    let address = |name: &str, text: &str| {
        text.parse::<SocketAddr>()
            .with_context(|| format!("{name}: {text:?} is no address and port, as 127.0.0.1:5443"))
    };
    let listen = match (flags.listen, var("HUBCAP_LISTEN"), &file.listen) {
        (Some(flag), _, _) => flag,
        (None, Some(text), _) => address("HUBCAP_LISTEN", text)?,
        (None, None, Some(text)) => address("listen", text)?,
        (None, None, None) => SocketAddr::from(([127, 0, 0, 1], 5443)),
    };
    let http_listen = match (flags.http_listen, var("HUBCAP_HTTP_LISTEN"), &file.http_listen) {
        (Some(flag), _, _) => Some(flag),
        (None, Some(text), _) => Some(address("HUBCAP_HTTP_LISTEN", text)?),
        (None, None, text) => text.as_ref().map(|text| address("http-listen", text)).transpose()?,
    };
    let proxy = proxy(flags, environment, &file)?;
    let text = |flag: &Option<String>, (name, key): (&'static str, &'static str), file: &Option<String>| {
        let flag = flag.as_ref().map(|text| (key, text.clone()));
        let variable = || var(name).map(|text| (name, text.to_owned()));
        flag.or_else(variable).or_else(|| file.as_ref().map(|text| (key, text.clone())))
    };
    let ttl = text(&flags.tag_ttl, ("HUBCAP_TAG_TTL", "tag-ttl"), &file.tag_ttl);
    let ttl = read(ttl, units::ttl)?.unwrap_or(Ttl::For(Duration::from_secs(300)));
    let tags = tag_rules(&file, ttl)?;
    let timeout = ("HUBCAP_UPSTREAM_TIMEOUT", "upstream-timeout");
    let timeout = text(&flags.upstream_timeout, timeout, &file.upstream_timeout);
    let upstream_timeout = read(timeout, units::duration)?.unwrap_or(Duration::from_secs(5));
    let max_size =
        read(text(&flags.max_size, ("HUBCAP_MAX_SIZE", "max-size"), &file.max_size), units::limit)?;
    let min_free =
        read(text(&flags.min_free, ("HUBCAP_MIN_FREE", "min-free"), &file.min_free), units::limit)?;
    // So much that a job's own work still finds room.
    let min_free = min_free.unwrap_or(Limit::Bytes(1 << 30));
    let listed =
        |name: &str| var(name).map(|list| list.split(',').map(|one| one.trim().to_owned()).collect());
    let pins = (!flags.pin.is_empty()).then(|| flags.pin.clone()).or_else(|| listed("HUBCAP_PIN"));
    let pins = pins.or_else(|| file.pin.clone()).unwrap_or_default();
    let pins = pins.iter().map(|pin| pin.parse().context("pin")).collect::<Result<_, _>>()?;
    let switch = |name: &str| match var(name) {
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        Some(other) => bail!("{name}: {other:?} is neither true nor false"),
        None => Ok(None),
    };
    let offline = flags.offline || switch("HUBCAP_OFFLINE")?.or(file.offline).unwrap_or(false);
    let read_ahead = flags.read_ahead.or(switch("HUBCAP_READ_AHEAD")?).or(file.read_ahead);
    // One job's daemon serves what it fetches; a shared one would fetch what perhaps nobody wants.
    let read_ahead = read_ahead.unwrap_or_else(|| environment.contains_key("GITHUB_WORKSPACE"));
    let frozen = flags.frozen.clone().or_else(|| var("HUBCAP_FROZEN").map(PathBuf::from));
    let frozen = frozen.or_else(|| file.frozen.clone()).map(|path| Frozen::read(&path)).transpose()?;
    let directory =
        |flag: &Option<PathBuf>, name: &str, file: &Option<PathBuf>, default: anyhow::Result<PathBuf>| {
            flag.clone().or_else(|| var(name).map(PathBuf::from)).or_else(|| file.clone()).map_or(default, Ok)
        };
    let store = directory(&flags.store, "HUBCAP_STORE", &file.store, default_store(environment))?;
    let state =
        directory(&flags.state, "HUBCAP_STATE", &file.state, xdg(environment, "STATE", ".local/state"))?;
    let (store, state) = (std::path::absolute(store)?, std::path::absolute(state)?);
    if real(&state).starts_with(real(&store)) {
        bail!(
            "the state directory {} is inside the store {}: the CA's private key would be archived with it; \
             choose another --state",
            state.display(),
            store.display()
        );
    }
    let (upstreams, allowed) = upstreams::merge(flags, environment, file)?;
    let restore = var("HUBCAP_RESTORE").map(archive).transpose()?;
    Ok(Config {
        listen,
        http_listen,
        store,
        state,
        offline,
        tags,
        frozen,
        read_ahead,
        upstream_timeout,
        max_size,
        min_free,
        pins,
        upstreams,
        allowed,
        proxy,
        restore,
    })
}

/// The error does not show what may be a secret.
fn archive(text: &str) -> anyhow::Result<Archive> {
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Archive(url)),
        _ => bail!("HUBCAP_RESTORE: it is no URL, as https://host/archive?signature"),
    }
}

/// The HTTP proxy, where it is on.
fn proxy(
    flags: &Common,
    environment: &BTreeMap<String, String>,
    file: &File,
) -> anyhow::Result<Option<ConnectConfig>> {
    let var = |name: &str| environment.get(name).map(String::as_str);
    let read = |name: &str, text: &str| {
        text.parse::<SocketAddr>()
            .with_context(|| format!("{name}: {text:?} is no address and port, as 127.0.0.1:5480"))
    };
    let address = match (flags.proxy_listen, var("HUBCAP_PROXY_LISTEN"), &file.proxy_listen) {
        (Some(flag), _, _) => flag,
        (None, Some(text), _) => read("HUBCAP_PROXY_LISTEN", text)?,
        (None, None, Some(text)) => read("proxy-listen", text)?,
        (None, None, None) => return Ok(None),
    };
    let list =
        |flags: &[String], name: &str, file: &Option<Vec<String>>| -> anyhow::Result<Vec<RegistryPattern>> {
            let listed = || Some(var(name)?.split(',').map(|one| one.trim().to_owned()).collect());
            let texts = (!flags.is_empty()).then(|| flags.to_vec()).or_else(listed).or_else(|| file.clone());
            texts.unwrap_or_default().iter().map(|text| text.parse().context(name.to_owned())).collect()
        };
    let intercept = list(&flags.proxy_intercept, "HUBCAP_PROXY_INTERCEPT", &file.proxy_intercept)?;
    let tunnel = list(&flags.proxy_tunnel, "HUBCAP_PROXY_TUNNEL", &file.proxy_tunnel)?;
    if let Some(wide) = intercept.iter().find(|one| one.registry().is_none() && one.domain().is_none()) {
        bail!("proxy-intercept: {wide} is under no domain that the local CA could be constrained to");
    }
    Ok(Some(ConnectConfig { address, intercept, tunnel }))
}

/// Reads a setting where it is set; an error names where.
fn read<T>(
    set: Option<(&'static str, String)>,
    parse: impl Fn(&str) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    set.map(|(name, text)| parse(&text).with_context(|| format!("{name}: {text:?}"))).transpose()
}

/// The file's `[[tags]]` in their order, then the upstreams' own.
fn tag_rules(file: &File, default: Ttl) -> anyhow::Result<TagRules> {
    let mut rules = Vec::new();
    for table in &file.tags {
        let ttl =
            units::ttl(&table.ttl).with_context(|| format!("tags {:?}: {:?}", table.pattern, table.ttl))?;
        rules.push((table.pattern.parse::<Pattern>().context("tags")?, ttl));
    }
    for (name, upstream) in &file.upstream {
        if let Some(text) = &upstream.tag_ttl {
            let ttl = units::ttl(text).with_context(|| format!("upstream {name}: tag-ttl {text:?}"))?;
            let registry: Registry = name.parse()?;
            rules.push((format!("{registry}/*").parse::<Pattern>()?, ttl));
        }
    }
    Ok(TagRules { rules, default })
}

/// Where a path leads, past symbolic links and `..`; what is not there yet is taken as it is written.
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

/// actions/cache carries what is in the workspace; elsewhere a cache belongs to the user's caches.
fn default_store(environment: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    match environment.get("GITHUB_WORKSPACE") {
        Some(workspace) => Ok(PathBuf::from(workspace).join(".hubcap")),
        None => xdg(environment, "CACHE", ".cache"),
    }
}

/// A directory of the XDG base directory specification, with hubcap's name in it.
fn xdg(environment: &BTreeMap<String, String>, kind: &str, below_home: &str) -> anyhow::Result<PathBuf> {
    let given =
        environment.get(&format!("XDG_{kind}_HOME")).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || environment.get("HOME").map(|home| PathBuf::from(home).join(below_home));
    let base = given
        .or_else(home)
        .context("neither HOME nor the XDG directories are set; use --store and --state")?;
    Ok(base.join("hubcap"))
}

impl std::fmt::Display for Config {
    /// What `--check` prints: a file that says the same, without logins.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "listen = \"{}\"", self.listen)?;
        if let Some(http) = self.http_listen {
            writeln!(f, "http-listen = \"{http}\"")?;
        }
        if let Some(proxy) = &self.proxy {
            writeln!(f, "proxy-listen = \"{}\"", proxy.address)?;
            for (key, list) in [("proxy-intercept", &proxy.intercept), ("proxy-tunnel", &proxy.tunnel)] {
                if !list.is_empty() {
                    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                    writeln!(f, "{key} = {list:?}")?;
                }
            }
        }
        writeln!(f, "store = {:?}", self.store)?;
        writeln!(f, "state = {:?}", self.state)?;
        writeln!(f, "offline = {}", self.offline)?;
        if let Some(frozen) = &self.frozen {
            writeln!(f, "frozen = {:?}", frozen.path)?;
        }
        writeln!(f, "read-ahead = {}", self.read_ahead)?;
        writeln!(f, "tag-ttl = \"{}\"", shown(self.tags.default))?;
        writeln!(f, "upstream-timeout = \"{}s\"", self.upstream_timeout.as_secs_f64())?;
        if let Some(limit) = self.max_size {
            writeln!(f, "max-size = \"{limit}\"")?;
        }
        writeln!(f, "min-free = \"{}\"", self.min_free)?;
        if self.restore.is_some() {
            writeln!(f, "# restored from HUBCAP_RESTORE")?;
        }
        if !self.pins.is_empty() {
            let pins: Vec<String> = self.pins.iter().map(ToString::to_string).collect();
            writeln!(f, "pin = {pins:?}")?;
        }
        for (pattern, ttl) in &self.tags.rules {
            writeln!(f, "\n[[tags]]\npattern = \"{pattern}\"\nttl = \"{}\"", shown(*ttl))?;
        }
        for upstream in &self.upstreams {
            writeln!(f, "\n[upstream.\"{}\"]\nurl = \"{}\"", upstream.registry, upstream.url)?;
            if upstream.credentials.is_some() {
                writeln!(f, "# with a login")?;
            }
        }
        for pattern in &self.allowed {
            writeln!(f, "\n[upstream.\"{pattern}\"]")?;
        }
        Ok(())
    }
}

fn shown(ttl: Ttl) -> String {
    match ttl {
        Ttl::For(ttl) => format!("{}s", ttl.as_secs_f64()),
        Ttl::Immutable => "immutable".into(),
    }
}

#[cfg(test)]
mod tests;
