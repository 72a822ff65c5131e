//! `hubcap setup` and `hubcap unset`: the clients' own files, wired and unwired.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hubcap_oci::Registry;
use hubcap_wiring::{Change, Client, Docker, Mirror, Wiring};

use crate::admin::client;
use crate::args::{DockerFlags, SetupDocker, UnsetDocker};
use crate::config::Config;
use crate::run::Run;

/// Wires dockerd, or prints what that would change.
pub(crate) fn docker(config: &Config, flags: &SetupDocker) -> anyhow::Result<ExitCode> {
    let mirror = mirror(config, !flags.print)?;
    let registries = match flags.registries.as_slice() {
        [] => registries(config),
        given => given.to_vec(),
    };
    let docker = Docker::find(&flags.docker.at())?;
    let mut wiring = Wiring::open(&config.state, Client::Docker)?;
    let plan = docker.plan(&wiring, &mirror, &registries)?;
    if flags.print {
        print(plan.iter().map(|(change, _)| change));
        return Ok(ExitCode::SUCCESS);
    }
    docker.wire(&mut wiring, &mirror, &plan)?;
    tell(plan.iter().map(|(change, _)| change));
    match docker.version() {
        Ok(version) => println!("dockerd {version} now asks {} first", mirror.url()),
        Err(why) => println!("{why}; it reads {} when it starts", docker.daemon_json().display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes back what [`docker`] did, or prints what that would change.
pub(crate) fn undocker(config: &Config, flags: &UnsetDocker) -> anyhow::Result<ExitCode> {
    let mut wiring = Wiring::open(&config.state, Client::Docker)?;
    if wiring.is_empty() {
        println!("dockerd is not wired from {}: nothing to do", config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    let docker = Docker::find(&flags.docker.at().or_host(wiring.host()))?;
    let changes = docker.unplan(&wiring)?;
    if flags.print {
        print(&changes);
        return Ok(ExitCode::SUCCESS);
    }
    docker.unwire(&mut wiring)?;
    tell(&changes);
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

/// The registries that hubcap can be asked for, Docker Hub among them.
pub(crate) fn registries(config: &Config) -> Vec<Registry> {
    config.upstreams.iter().map(|upstream| upstream.registry.clone()).collect()
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

impl DockerFlags {
    pub(crate) fn at(&self) -> hubcap_wiring::DockerAt {
        hubcap_wiring::DockerAt {
            host: self.docker_host.clone(),
            daemon_json: self.daemon_json.clone(),
            certs_dir: self.certs_dir.clone(),
        }
    }
}
