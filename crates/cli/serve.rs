//! `hubcap serve`: the daemon.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use hubcap_cache::Cache;
use hubcap_oci::Registry;
use hubcap_proxy::Bound;
use hubcap_store::Store;
use hubcap_upstream::Upstreams;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// Serves until SIGTERM or SIGINT; with `check`, only says what it would do.
pub(crate) fn run(config: Config, check: bool) -> anyhow::Result<ExitCode> {
    if check {
        return Ok(match checked(&config) {
            Ok(()) => {
                print!("{config}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("hubcap: {error:#}");
                ExitCode::from(2)
            }
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anything is promised: a signal that comes early must not be lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let store = Store::open(&config.store)?;
    let cache = cache(store.clone(), &config)?;
    let proxy = hubcap_proxy::Config {
        https: Some(config.listen),
        http: config.http_listen,
        state: config.state.clone(),
        default_registry: Registry::docker_hub(),
    };
    let bound = hubcap_proxy::bind(cache, proxy).await.map_err(|error| match error {
        hubcap_proxy::Error::Listen { .. } => {
            anyhow::Error::new(error).context("is another hubcap running? choose another --listen")
        }
        other => other.into(),
    })?;
    announce(&bound, &config)?;
    bound
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(target: "hubcap::serve", "stopping");
        })
        .await;
    store.close();
    Ok(())
}

/// The cache over a store, for whoever runs one in this process.
pub(crate) fn cache(store: Store, config: &Config) -> anyhow::Result<Cache> {
    let upstreams = Upstreams::new(hubcap_upstream::Config {
        upstreams: config.upstreams.clone(),
        timeout: config.upstream_timeout,
    })?;
    let rules = hubcap_cache::Config { offline: config.offline, tag_ttl: config.tag_ttl };
    Ok(Cache::new(store, upstreams, rules))
}

/// Says where everything is, and what a user has to write where.
fn announce(bound: &Bound, config: &Config) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "hubcap {}", env!("CARGO_PKG_VERSION"))?;
    for (scheme, address) in [("https", bound.https()), ("http", bound.http())] {
        if let Some(address) = address {
            writeln!(out, "listening on {scheme}://{address}")?;
        }
    }
    writeln!(out, "store {}", config.store.display())?;
    writeln!(out, "ca certificate {}", bound.ca_certificate().display())?;
    let upstreams = config.upstreams.iter().map(|one| format!("{}={}", one.registry, one.url));
    writeln!(out, "upstreams {}{}", upstreams.collect::<Vec<_>>().join(" "), offline(config))?;
    if let Some(address) = bound.https() {
        let (mirror, ca) = (format!("https://{address}"), bound.ca_certificate().display());
        write!(
            out,
            "\n/etc/docker/daemon.json, then `systemctl reload docker`:\n\n    \
             {{ \"registry-mirrors\": [\"{mirror}\"] }}\n\n\
             /etc/docker/certs.d/docker.io/hosts.toml, read at each pull:\n\n    \
             [host.\"{mirror}\"]\n      capabilities = [\"pull\", \"resolve\"]\n      ca = \"{ca}\"\n      \
             dial_timeout = \"1s\"\n\n\
             Write both: the first is for dockerd's own pulls; with the second, `docker build` and dockerd 29 use the\n\
             mirror too, and dockerd 28 and later go on checking Docker Hub's certificate.\n"
        )?;
    }
    out.flush()?;
    Ok(())
}

const fn offline(config: &Config) -> &'static str {
    if config.offline { " (offline: none is asked)" } else { "" }
}

/// What `--check` can tell without changing anything.
fn checked(config: &Config) -> anyhow::Result<()> {
    Upstreams::new(hubcap_upstream::Config {
        upstreams: config.upstreams.clone(),
        timeout: config.upstream_timeout,
    })?;
    for (what, path) in [("store", &config.store), ("state", &config.state)] {
        let mut existing: &Path = path;
        while !existing.exists() {
            existing =
                existing.parent().with_context(|| format!("the {what} {} cannot be made", path.display()))?;
        }
        let metadata = fs_err::metadata(existing)?;
        if !metadata.is_dir() {
            anyhow::bail!("the {what} {} cannot be made: {} is a file", path.display(), existing.display());
        }
        if metadata.permissions().readonly() {
            anyhow::bail!(
                "the {what} {} cannot be made: {} is not writable",
                path.display(),
                existing.display()
            );
        }
    }
    Ok(())
}
