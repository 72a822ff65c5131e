//! `hubcap setup` and `hubcap unset`: the clients' own files, wired and unwired.

pub(crate) mod clients;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hubcap_clients::{Change, Client, Docker, Journal, Mirror, Proxy, Registries, reachable};
use hubcap_oci::Registry;

use crate::admin::client;
use crate::args::{Setup, SetupDocker, Unset, UnsetDocker, Wire};
use crate::daemon::run::Run;
use crate::settings::Config;

/// Wires a client.
pub(crate) fn run(config: &Config, setup: &Setup) -> anyhow::Result<ExitCode> {
    match setup {
        Setup::Docker(flags) => docker(config, flags),
        Setup::Containerd(flags) => clients::containerd(config, flags),
        Setup::Buildkit(flags) => clients::buildkit(config, flags),
        Setup::Podman(flags) => clients::podman(config, flags),
    }
}

/// Restores a client's files.
pub(crate) fn unset(config: &Config, unset: &Unset) -> anyhow::Result<ExitCode> {
    match unset {
        Unset::Docker(flags) => undocker(config, flags),
        Unset::Containerd(flags) => clients::unset((config, flags), Client::Containerd),
        Unset::Buildkit(flags) => clients::unset((config, flags), Client::Buildkit),
        Unset::Podman(flags) => clients::unset((config, flags), Client::Podman),
    }
}

/// Wires dockerd, or prints what that would change.
fn docker(config: &Config, flags: &SetupDocker) -> anyhow::Result<ExitCode> {
    let mirror = mirror(config, !flags.wire.print)?;
    // With the proxy the names are for it, and the mirrors for what hubcap knows anyway.
    let named = if flags.proxy { registries(config) } else { named(config, &flags.wire) };
    let registries = Registries { named, every_other: flags.all };
    let docker = Docker::find(&flags.docker.at())?;
    let mut journal = Journal::open(&config.state, Client::Docker)?;
    let mut plan = docker.plan(&journal, &mirror, &registries)?;
    if flags.proxy {
        plan = docker.with_proxy(&journal, &proxy(config, flags, &mirror)?, plan)?;
    }
    if flags.wire.print {
        print(plan.iter().map(|(change, _)| change));
        return Ok(ExitCode::SUCCESS);
    }
    docker.configure(&mut journal, &mirror, &plan)?;
    tell(plan.iter().map(|(change, _)| change));
    match docker.version() {
        Ok(version) => println!("dockerd {version} now asks {} first", mirror.url()),
        Err(why) => println!("{why}; it reads {} when it starts", docker.daemon_json().display()),
    }
    if flags.proxy {
        println!(
            "once restarted, dockerd sends everything but Docker Hub's through hubcap's proxy. While hubcap does not run, \
             those pulls fail: `hubcap unset docker` and a restart before it is stopped for good."
        );
        restart(&docker, flags.restart)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// dockerd reads its proxy at its start alone.
fn restart(docker: &Docker, now: bool) -> anyhow::Result<()> {
    if now {
        docker.restart()?;
        println!("dockerd is restarted");
    } else {
        println!(
            "to have it take effect: systemctl daemon-reload; systemctl restart docker (or --restart does it here)"
        );
    }
    Ok(())
}

/// Where hubcap's proxy is: as configured, else as the last daemon had it.
pub(crate) fn proxy_address(config: &Config) -> Option<SocketAddr> {
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.proxy_listen);
    let configured = config.proxy.as_ref().map(|proxy| proxy.address).filter(|address| address.port() != 0);
    configured.or_else(last).map(reachable)
}

/// hubcap's proxy, for the registries that were named.
fn proxy(config: &Config, flags: &SetupDocker, mirror: &Mirror) -> anyhow::Result<Proxy> {
    let Some(address) = proxy_address(config) else {
        bail!("hubcap has no proxy: start it with --proxy-listen ADDR:PORT, or give that here as well")
    };
    Ok(Proxy {
        address,
        registries: flags.wire.registries.clone(),
        ca: mirror.ca.clone(),
        drop_in: flags.drop_in.clone(),
    })
}

/// Takes back what [`docker`] did, or prints what that would change.
fn undocker(config: &Config, flags: &UnsetDocker) -> anyhow::Result<ExitCode> {
    let mut journal = Journal::open(&config.state, Client::Docker)?;
    if journal.is_empty() {
        println!("dockerd is not wired from {}: nothing to do", config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    let docker = Docker::find(&flags.docker.at().or_host(journal.host()))?;
    let changes = docker.plan_undo(&journal)?;
    if flags.unwire.print {
        print(&changes);
        return Ok(ExitCode::SUCCESS);
    }
    let proxy = docker.has_proxy_of(&journal);
    docker.undo(&mut journal)?;
    tell(&changes);
    if proxy {
        println!("dockerd still uses hubcap's proxy, until it is restarted");
        restart(&docker, flags.restart)?;
    }
    println!("dockerd's files are as they were");
    Ok(ExitCode::SUCCESS)
}

/// Where hubcap answers: as the running daemon says, else as it is configured, else as the last one did. With `make`
/// its CA is made where there is none, since clients that are told of a missing one fail.
pub(crate) fn mirror(config: &Config, make: bool) -> anyhow::Result<Mirror> {
    let running = client::status(&config.state).ok().and_then(|status| status.listen);
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.listen);
    let configured = Some(config.listen).filter(|listen| listen.port() != 0);
    let Some(listen) = running.or(configured).or_else(last) else {
        bail!("which port hubcap listens on is not known: start it, or give --listen ADDR:PORT")
    };
    if make {
        hubcap_proxy::prepare_authority(&config.state, listen.ip())
            .context("the local CA cannot be made, and clients have to be told of it")?;
    }
    Ok(Mirror::new(listen, hubcap_proxy::certificate_path(&config.state)))
}

/// The registries that are configured, Docker Hub among them, and those that the running daemon has to do with.
pub(crate) fn registries(config: &Config) -> Vec<Registry> {
    let mut found: BTreeSet<Registry> =
        config.upstreams.iter().map(|upstream| upstream.registry.clone()).collect();
    let running = client::status(&config.state).map(|status| status.registries).unwrap_or_default();
    found.extend(running.keys().filter_map(|name| name.parse().ok()));
    found.into_iter().collect()
}

fn named(config: &Config, flags: &Wire) -> Vec<Registry> {
    if flags.registries.is_empty() { registries(config) } else { flags.registries.clone() }
}

pub(crate) fn print<'a>(changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes {
        print!("{}", change.diff());
    }
}

pub(crate) fn tell<'a>(changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes.into_iter().filter(|change| !change.is_empty()) {
        let did = match (&change.now, &change.then) {
            (_, None) => "removed",
            (None, Some(_)) => "wrote",
            (Some(_), Some(_)) => "changed",
        };
        println!("{did} {}", change.path.display());
    }
}
