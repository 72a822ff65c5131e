//! `hubcap serve`: the daemon.

mod announce;
mod check;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use hubcap_admin::{Admin, Daemon, Socket};
use hubcap_cache::Cache;
use hubcap_oci::Registry;
use hubcap_proxy::{Bound, DRAIN};
use hubcap_store::{Durability, Restored, Store};
use hubcap_upstream::UpstreamConfig;
use hubcap_upstream::actions_cache::Service;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::Serve;
use crate::compose;
use crate::daemon::run::Run;
use crate::daemon::{log, records};
use crate::job::cache::JobCache;
use crate::job::{speed, workspace};
use crate::limits;
use crate::settings::{Archive, Config};
use crate::show::strangers::visible_lines;
use crate::signals::Signals;

/// How often what is only in memory is written.
const FLUSH: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT; with `check`, only says what it would do.
pub(crate) fn run(config: Config, flags: &Serve) -> anyhow::Result<ExitCode> {
    if flags.background {
        // It fails only where this process leads a session already.
        let _ = rustix::process::setsid();
        log::is_ours(&config.state);
    }
    if flags.check {
        return Ok(match check::check(&config).and_then(|()| config.to_toml()) {
            Ok(toml) => {
                print!("{toml}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{}", visible_lines(&format!("hubcap: {error:#}")));
                ExitCode::from(2)
            }
        });
    }
    limits::hide();
    check_clock(SystemTime::now())?;
    let job_cache = flags.job_cache.then(|| JobCache::read(std::io::stdin())).transpose()?;
    limits::keep_memory();
    let runtime = compose::runtime()?;
    let served = runtime.block_on(serve(config, flags.background, job_cache));
    // Tasks that still run are given up: nothing waits for the hash of some gigabytes.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Refuses a clock that certificates and TLS have no word for.
fn check_clock(now: SystemTime) -> anyhow::Result<()> {
    const YEAR: u64 = 365 * 24 * 3600;
    let years = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs() / YEAR);
    match years {
        Ok(..8000) => Ok(()),
        Ok(_) => bail!("the clock of this machine is after the year 9900: set it"),
        Err(_) => bail!("the clock of this machine is before the year 1970: set it"),
    }
}

async fn serve(config: Config, go_on: bool, job_cache: Option<(Service, Vec<String>)>) -> anyhow::Result<()> {
    // First of all: a signal that comes early must not be lost.
    let signals = Signals::listen()?;
    limits::raise_open_files();
    let run = Run::begin(&config, go_on);
    if let Some(why) = workspace::not_checked_out(&config.store, std::env::var_os) {
        tracing::warn!(target: "hubcap::serve", "{why}");
    }
    // A job's daemon and its store go with the job.
    let durability = if go_on { Durability::Kernel } else { Durability::Synced };
    let store = compose::store_to_serve(&config, durability)?;
    let cache = compose::cache(store.clone(), &config)?;
    let bound = bind(cache.clone(), &config).await?;
    let run = run.bound(&bound).await;
    run.write(&config.state);
    // Before the first request: requests wait for contents that the archive may have.
    let restoring = config.restore.clone().map(|archive| tokio::spawn(restore(&cache, archive)));
    if let Some((service, keys)) = job_cache {
        tokio::spawn(carry(&cache, service, keys));
    }
    let listen = run.listen;
    let admin = start_admin(cache.clone(), run, &bound, &config).await;
    // Once its socket answers: a record without a daemon is one of a killed daemon.
    let record = records::write(&config.state, listen);
    // Clients need nobody who reads it.
    if let Err(error) = announce::announce(&bound, &config) {
        tracing::warn!(target: "hubcap::serve", "where it listens cannot be told on standard output: {error}");
    }
    let (preparing, kept) = (cache.clone(), store.clone());
    tokio::task::spawn_blocking(move || preparing.prepare());
    tokio::task::spawn_blocking(move || keep_limits(&kept));
    let flushing = tokio::spawn(flush_regularly(store.clone()));
    until_stopped(bound, &cache, signals).await;
    drop(record);
    flushing.abort();
    if let Some(restoring) = restoring {
        restoring.abort();
    }
    if let Some(admin) = admin {
        admin.abort();
        let _ = admin.await;
    }
    let closing = store.clone();
    tokio::task::spawn_blocking(move || closing.close()).await?;
    Ok(())
}

/// Opens the listeners.
async fn bind(cache: Cache, config: &Config) -> anyhow::Result<Bound> {
    let proxy = hubcap_proxy::Config {
        https: Some(config.listen),
        http: config.http_listen,
        bridges: config.bridges.clone(),
        names: config.names.clone(),
        state: config.state.clone(),
        default_registry: Registry::docker_hub(),
        connect: config.proxy.clone(),
    };
    hubcap_proxy::bind(cache, proxy).await.map_err(|error| match error {
        hubcap_proxy::Error::Listen { .. } => {
            anyhow::Error::new(error).context("is another hubcap running? choose another --listen")
        }
        other => other.into(),
    })
}

/// Opens the admin socket and answers there; without it the daemon serves all the same.
async fn start_admin(cache: Cache, run: Run, bound: &Bound, config: &Config) -> Option<JoinHandle<()>> {
    let daemon = Daemon {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: run.pid,
        started: run.started,
        listen: run.listen,
        http_listen: run.http_listen,
        bridges: bound.bridges(),
        proxy_listen: run.proxy_listen,
        ca: bound.ca_certificate().to_owned(),
        store: run.store,
        registries: config.upstreams.iter().map(urls).collect(),
        allowed: config.allowed.iter().map(ToString::to_string).collect(),
        settings: config.to_toml().unwrap_or_default(),
        offline: config.offline,
    };
    match Socket::open(&config.state).await {
        Ok(socket) => Some(tokio::spawn(hubcap_admin::serve(socket, Admin { cache, daemon }))),
        Err(error) => {
            tracing::warn!(target: "hubcap::serve", "hubcap's own commands will not find this daemon: {error}");
            None
        }
    }
}

/// A registry's name, and where it is.
fn urls(upstream: &UpstreamConfig) -> (String, Vec<String>) {
    let urls = upstream.origins.iter().map(|origin| origin.url.to_string());
    (upstream.registry.to_string(), urls.collect())
}

/// Answers until a signal asks for the end; then gives clients and fetches [`DRAIN`] to end. A second signal ends at once.
async fn until_stopped(bound: Bound, cache: &Cache, mut signals: Signals) {
    let (stopping, mut stopped) = watch::channel(None);
    let serving = async {
        bound.run(async { drop(stopped.wait_for(Option::is_some).await) }).await;
        let since = stopped.borrow().unwrap_or_else(Instant::now);
        if !cache.drain(DRAIN.saturating_sub(since.elapsed())).await {
            tracing::warn!(target: "hubcap::serve", "fetches still run after {} s; they are given up", DRAIN.as_secs());
        }
    };
    let stopped_twice = async {
        signals.next().await;
        tracing::info!(target: "hubcap::serve", "stopping; a second signal stops at once");
        let _ = stopping.send(Some(Instant::now()));
        signals.next().await;
    };
    tokio::select! {
        () = serving => {}
        () = stopped_twice => tracing::warn!(target: "hubcap::serve", "stopped at once"),
    }
}

/// Restores the store that an earlier job has saved, while serving. What is not restored is fetched.
fn restore(cache: &Cache, Archive(url): Archive) -> impl Future<Output = ()> + Send + use<> {
    let (started, restoring) = (Instant::now(), cache.restore(url, &[speed::FILE]));
    async move {
        let restored = restoring.await;
        let seconds = started.elapsed().as_secs_f64();
        match restored {
            Ok(Restored { contents, bytes, left_out }) => tracing::info!(target: "hubcap::restore",
                "restored {contents} contents, {bytes} bytes, in {seconds:.1} s, and left out {left_out}"),
            Err(error) => {
                tracing::warn!(target: "hubcap::restore", "the archive was not restored, or not whole: {error}. \
                What is missing is fetched")
            }
        }
    }
}

/// Reads what the job's cache service has, while serving.
fn carry(cache: &Cache, service: Service, keys: Vec<String>) -> impl Future<Output = ()> + Send + use<> {
    let (started, carrying) = (Instant::now(), cache.carry(service, keys));
    async move {
        let found = carrying.await;
        let seconds = started.elapsed().as_secs_f64();
        match found {
            Ok(Some(found)) => tracing::info!(target: "hubcap::carry",
                "{} names {} contents, {} bytes; known after {seconds:.1} s", found.key, found.contents, found.bytes),
            Ok(None) => {
                tracing::info!(target: "hubcap::carry", "no earlier job has saved anything under these keys")
            }
            Err(why) => {
                tracing::warn!(target: "hubcap::carry", "what earlier jobs have saved is not used: {why}")
            }
        }
    }
}

/// Makes a store that another hubcap has filled as small as this one's limits say.
fn keep_limits(store: &Store) {
    if let Err(error) = store.keep_limits() {
        tracing::warn!(target: "hubcap::serve", "the store is not made smaller: {error}");
    }
}

/// Writes what is only in memory, and makes room for names, again and again: a kill loses what changed since.
async fn flush_regularly(store: Store) {
    let mut ticks = tokio::time::interval(FLUSH);
    loop {
        ticks.tick().await;
        let store = store.clone();
        let kept = tokio::task::spawn_blocking(move || {
            store.flush();
            store.keep_size()
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(target: "hubcap::serve", "the store is not made smaller: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_tls_has_no_word_for_is_refused() {
        assert!(check_clock(SystemTime::now()).is_ok());
        let year = Duration::from_secs(366 * 24 * 3600);
        assert!(check_clock(UNIX_EPOCH - year).is_err() && check_clock(UNIX_EPOCH + 8000 * year).is_err());
    }
}
