//! `hubcap up`: the daemon started, dockerd wired to it, and the proof that it is used.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hubcap_clients::{Client, Docker, Journal, Mirror};

use crate::admin::Status;
use crate::args::{DockerFlags, Up};
use crate::coverage::{Pulls, docker_pulls};
use crate::daemon::process;
use crate::job::github;
use crate::settings::Config;
use crate::verb::setup;

/// Starts, wires and proves. In a GitHub job what fails is a warning: a job must not fail because of its cache.
pub(crate) fn run(config: &Config, flags: &Up, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    if flags.print {
        return print(config, flags);
    }
    let failed = match start(config, arguments) {
        Ok(status) => match wire(config, flags, &status) {
            Ok(()) => None,
            Err(error) => Some(format!("dockerd was left as it was, and pulls without hubcap: {error:#}")),
        },
        Err(error) => Some(format!("hubcap does not run, and dockerd was left as it was: {error:#}")),
    };
    github::output("wired", if failed.is_none() { "true" } else { "false" });
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => {
            github::warning(&why);
            Ok(if github::is_job() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn start(config: &Config, arguments: &[OsString]) -> anyhow::Result<Status> {
    let (status, started) = process::ensure(config, arguments)?;
    let (pid, log) = (status.pid, process::log(&config.state));
    println!("hubcap {} {pid}, log {}", if started { "runs as" } else { "runs already as" }, log.display());
    println!("store {}", status.store.display());
    Ok(status)
}

fn wire(config: &Config, flags: &Up, status: &Status) -> anyhow::Result<()> {
    let listen = status.listen.context("the daemon does not listen for HTTPS")?;
    let mirror = Mirror::new(listen, status.ca.clone());
    let clients = flags.clients();
    let done = if clients.contains(&Client::Docker) { docker(config, flags, &mirror) } else { Ok(()) };
    for client in clients.into_iter().filter(|client| *client != Client::Docker) {
        match other(config, client, &mirror) {
            Ok(()) => println!("through hubcap: {}", client.title()),
            Err(error) => github::warning(&format!("{} pulls as before: {error:#}", client.title())),
        }
    }
    done
}

/// A client that reads its files by itself, so there is nothing to wait for.
fn other(config: &Config, client: Client, mirror: &Mirror) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, client)?;
    let plan = setup::clients::plan(client, (&journal, mirror), &setup::registries(config))?;
    journal.apply(&plan)?;
    setup::tell(plan.iter().map(|(change, _)| change));
    Ok(())
}

impl Up {
    /// Who named a dockerd elsewhere means that one, and nothing else of the machine.
    fn clients(&self) -> Vec<Client> {
        if !self.client.is_empty() {
            return self.client.clone();
        }
        let DockerFlags { docker_host, daemon_json, certs_dir } = &self.docker;
        let elsewhere = docker_host.is_some() || daemon_json.is_some() || certs_dir.is_some();
        let wanted =
            |client: &Client| *client == Client::Docker || (!elsewhere && setup::clients::is_found(*client));
        Client::ALL.into_iter().filter(wanted).collect()
    }
}

fn docker(config: &Config, flags: &Up, mirror: &Mirror) -> anyhow::Result<()> {
    let docker = Docker::find(&flags.docker.at())?;
    let registries = setup::registries(config);
    let mut journal = Journal::open(&config.state, Client::Docker)?;
    let plan = docker.plan(&journal, mirror, &registries.clone().into())?;
    docker.configure(&mut journal, mirror, &plan)?;
    setup::tell(plan.iter().map(|(change, _)| change));
    let version = match docker.version() {
        Ok(version) => version,
        Err(why) => {
            println!("{why}; once it runs, it asks {} first", mirror.url());
            return Ok(());
        }
    };
    if let Err(error) = prove(&docker) {
        docker.undo(&mut journal)?;
        return Err(error.context("dockerd is wired, but does not ask hubcap"));
    }
    println!(
        "dockerd {version} pulls through {}: proved with a pull of {}",
        mirror.url(),
        hubcap_proxy::PROBE_IMAGE
    );
    for Pulls { through, says, .. } in docker_pulls(&docker, version, &registries) {
        println!("{}through hubcap: {says}", if through { "" } else { "not " });
    }
    println!("not through hubcap: buildx builders in containers, and what the runner pulled before");
    Ok(())
}

/// A tag that nobody has, so dockerd has to ask; an image that only hubcap has, so it was hubcap who answered.
fn prove(docker: &Docker) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(docker.pull_and_remove(hubcap_proxy::PROBE_IMAGE, &format!("t{}", now.as_nanos()))?)
}

fn print(config: &Config, flags: &Up) -> anyhow::Result<ExitCode> {
    let mirror = setup::mirror(config, false)?;
    let registries = setup::registries(config);
    for client in flags.clients() {
        let journal = Journal::open(&config.state, client)?;
        let plan = match client {
            Client::Docker => {
                Docker::find(&flags.docker.at())?.plan(&journal, &mirror, &registries.clone().into())
            }
            other => setup::clients::plan(other, (&journal, &mirror), &registries),
        };
        setup::print(plan?.iter().map(|(change, _)| change));
    }
    Ok(ExitCode::SUCCESS)
}
