//! `hubcap serve`: the daemon.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hubcap_cache::{Cache, Restored};
use hubcap_oci::Registry;
use hubcap_proxy::{Bound, DRAIN};
use hubcap_store::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, Admin};
use crate::args::Serve;
use crate::compose;
use crate::daemon::run::Run;
use crate::job::workspace;
use crate::settings::{Archive, Config};

/// How often what is only in memory is written.
const FLUSH: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT; with `check`, only says what it would do.
pub(crate) fn run(config: Config, flags: &Serve) -> anyhow::Result<ExitCode> {
    if flags.background {
        // It fails only for who leads a session already.
        let _ = rustix::process::setsid();
    }
    if flags.check {
        return Ok(match check(&config).and_then(|()| config.to_toml()) {
            Ok(toml) => {
                print!("{toml}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("hubcap: {error:#}");
                ExitCode::from(2)
            }
        });
    }
    keep_memory();
    let runtime = compose::runtime()?;
    let served = runtime.block_on(serve(config, flags.background));
    // What still runs has been abandoned: nothing waits for the hash of some gigabytes.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Lets the C library keep some MiB that were freed. By default it gives back what lies free beyond some hundred KiB, and
/// takes it again page by page, for each piece of a blob: a tenth of what a fetch costs. glibc's limits follow the largest
/// block that was freed (mallopt(3), `M_MMAP_THRESHOLD`); this one is never touched, and costs no memory.
fn keep_memory() {
    const KEPT: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

async fn serve(config: Config, go_on: bool) -> anyhow::Result<()> {
    // Before anything is promised: a signal that comes early must not be lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    raise_open_files();
    let run = Run::begin(&config, go_on);
    if let Some(why) = workspace::not_checked_out(&config.store, std::env::var_os) {
        tracing::warn!(target: "hubcap::serve", "{why}");
    }
    let store = compose::store_to_serve(&config)?;
    let cache = compose::cache(store.clone(), &config)?;
    let proxy = hubcap_proxy::Config {
        https: Some(config.listen),
        http: config.http_listen,
        state: config.state.clone(),
        default_registry: Registry::docker_hub(),
        connect: config.proxy.clone(),
    };
    let bound = hubcap_proxy::bind(cache.clone(), proxy).await.map_err(|error| match error {
        hubcap_proxy::Error::Listen { .. } => {
            anyhow::Error::new(error).context("is another hubcap running? choose another --listen")
        }
        other => other.into(),
    })?;
    let run = run.bound(&bound).await;
    run.write(&config.state);
    // Before anybody can ask: what it may bring is waited for from the first request on.
    let restoring = config.restore.clone().map(|archive| tokio::spawn(restore(&cache, archive)));
    let admin = Admin {
        cache: cache.clone(),
        store: store.clone(),
        run,
        ca: bound.ca_certificate().to_owned(),
        offline: config.offline,
    };
    let admin = match admin::open(&config.state) {
        Ok(socket) => Some(tokio::spawn(admin::serve(socket, admin))),
        Err(error) => {
            tracing::warn!(target: "hubcap::serve", "hubcap's own commands will not find this daemon: {error:#}");
            None
        }
    };
    announce(&bound, &config)?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let preparing = cache.clone();
    tokio::task::spawn_blocking(move || preparing.prepare());
    let flushing = tokio::spawn(flush_now_and_then(store.clone()));
    let (stopping, mut stopped) = tokio::sync::watch::channel(None);
    let serving = async {
        bound.run(async { drop(stopped.wait_for(Option::is_some).await) }).await;
        let since = stopped.borrow().unwrap_or_else(Instant::now);
        if !cache.drain(DRAIN.saturating_sub(since.elapsed())).await {
            tracing::warn!(target: "hubcap::serve", "fetches still run after {} s; they are given up", DRAIN.as_secs());
        }
    };
    let signals = async {
        signalled().await;
        tracing::info!(target: "hubcap::serve", "stopping; a second signal stops at once");
        let _ = stopping.send(Some(Instant::now()));
        signalled().await;
    };
    tokio::select! {
        () = serving => {}
        () = signals => tracing::warn!(target: "hubcap::serve", "stopped at once"),
    }
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

/// Takes in what an earlier job has saved, beside answering. What does not come is fetched as if there were no archive.
fn restore(cache: &Cache, Archive(url): Archive) -> impl Future<Output = ()> + Send + use<> {
    let (started, restoring) = (Instant::now(), cache.restore(url));
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

/// Each client and each content that is read costs an open file. The usual soft limit of 1024 is there for programs that
/// cannot count further, and the hard one is for us.
fn raise_open_files() {
    let limits = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }) {
        tracing::warn!(target: "hubcap::serve", "the limit of open files stays as it is: {error}");
    }
}

/// What is lost by a kill is at most so old.
async fn flush_now_and_then(store: Store) {
    let mut ticks = tokio::time::interval(FLUSH);
    loop {
        ticks.tick().await;
        let store = store.clone();
        let _ = tokio::task::spawn_blocking(move || store.flush()).await;
    }
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
    if let Some(address) = bound.connect() {
        writeln!(out, "proxy on http://{address}")?;
    }
    writeln!(out, "store {}", config.store.display())?;
    writeln!(out, "ca certificate {}", bound.ca_certificate().display())?;
    let upstreams = config.upstreams.iter().map(|one| format!("{}={}", one.registry, one.url));
    writeln!(out, "upstreams {}{}", upstreams.collect::<Vec<_>>().join(" "), offline(config))?;
    if let Some(address) = bound.https() {
        // Everywhere is where it listens, and nowhere that a client can go to.
        let mirror = format!("https://{}", hubcap_clients::reachable(address));
        let ca = bound.ca_certificate().display();
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
fn check(config: &Config) -> anyhow::Result<()> {
    compose::upstreams(config)?;
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
