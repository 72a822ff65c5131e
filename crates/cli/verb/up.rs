//! `hubcap up`: starts the daemon, configures the clients, and proves with a pull that dockerd uses it.

mod bridge;
mod store;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hubcap_clients::{Client, Docker, Journal, Mirror, Registries};

use crate::args::{DockerFlags, Up};
use crate::clients;
use crate::daemon::find::{self, Found};
use crate::daemon::holders::{Holders, Who};
use crate::daemon::process::{self, Running};
use crate::daemon::{address, agree, client, log};
use crate::job::cache::JobCache;
use crate::job::{build_context, github};
use crate::settings::Config;
use crate::show::strangers::say;
use crate::show::{changes, unpacking};
use crate::{proof, restart, unpacker};

/// How long what earlier jobs have saved is waited for.
const CARRIED: Duration = Duration::from_secs(6);

/// What each client is configured with.
struct Hubcap {
    mirror: Mirror,
    /// Where clients in containers reach it.
    bridge: Option<Mirror>,
    registries: Registries,
}

/// A daemon that runs, and those that need it. Until this value is dropped, no other command changes either.
struct Started {
    found: Found,
    holders: Holders,
    /// Whether the daemon has just been given the job's cache.
    carries: bool,
}

/// Starts, configures and proves. In a GitHub job a failure is a warning: a job must not fail because of its cache.
pub(crate) fn run(config: &Config, flags: &Up, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let found = match find::daemon(config) {
        Ok(found) if flags.print => return print(&found, flags),
        Err(error) if flags.print => return Err(error),
        found => found,
    };
    let started = found.and_then(|found| {
        let bridge = bridge::flag(&found, flags);
        start(found, flags, &arguments.iter().cloned().chain(bridge).collect::<Vec<_>>())
    });
    let failed = match started {
        Ok(mut started) => {
            let configured = configure(&mut started, flags);
            // Not before: the daemon asks the cache while dockerd reads its files.
            if started.carries {
                tell_carried(&started.found.config.state);
            }
            let left = |error| format!("dockerd was left as it was, and pulls without hubcap: {error:#}");
            configured.err().map(left)
        }
        Err(error) => Some(format!("hubcap does not run, and dockerd was left as it was: {error:#}")),
    };
    github::output("wired", if failed.is_none() { "true" } else { "false" });
    let Some(why) = failed else { return Ok(ExitCode::SUCCESS) };
    github::warning(&why);
    Ok(if github::is_job() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the daemon where none runs, holds it, and says where it is.
fn start(found: Found, flags: &Up, arguments: &[OsString]) -> anyhow::Result<Started> {
    if let Some(status) = &found.status {
        agree::check(&found.config, &status.daemon)?;
    }
    let mut holders = Holders::open_to_hold(&found.config.state)?;
    let job_cache = match flags.cache_key.as_slice() {
        [] => None,
        keys => JobCache::of_job(keys)
            .inspect_err(|why| github::warning(&format!("nothing is carried in GitHub's cache: {why:#}")))
            .ok(),
    };
    github::output("log", &log::path(&found.config.state).display().to_string());
    let Running { status, already } = process::ensure(&found.config, arguments, job_cache.as_ref())?;
    if already && job_cache.is_some() {
        say!("the daemon runs already, so what is carried in GitHub's cache is decided");
    }
    holders.hold(&Who::of_this_process(), None)?;
    let runs = if already { "runs already as" } else { "runs as" };
    say!("hubcap {runs} {}, log {}", status.daemon.pid, log::path(&found.config.state).display());
    say!("store {}", status.daemon.store.display());
    if let Some(why) = build_context::has_store(&status.daemon.store, std::env::var_os) {
        github::warning(&why);
    }
    let carries = job_cache.is_some() && !already;
    Ok(Started { found: Found { status: Some(status), ..found }, holders, carries })
}

/// Says what the job begins with, once that is known: the daemon waits for it for some seconds at most.
fn tell_carried(state: &Path) {
    let status = client::settled(state, CARRIED).map(|(status, _)| status);
    let ended = (None, Some("the daemon does not answer".to_owned()));
    let (key, trouble) = status.map_or(ended, |status| (status.carried, status.carry_trouble));
    github::output("cache-hit", if key.is_some() { "true" } else { "false" });
    match (key, trouble) {
        (Some(key), _) => say!("begins with {key}"),
        (None, Some(why)) => say!("begins with nothing: {why}"),
        (None, None) => say!("begins with nothing: no earlier job has saved anything under this key"),
    }
}

/// Configures the clients. Only dockerd's failure is an error; another client's is a warning.
fn configure(started: &mut Started, flags: &Up) -> anyhow::Result<()> {
    let Started { found, holders, .. } = started;
    let config = &found.config;
    let mirror = address::verified_mirror(found, false)?;
    let hubcap = Hubcap {
        bridge: bridge::mirror(found, flags, &mirror),
        mirror,
        registries: address::registries(config, found.status.as_ref()).into(),
    };
    let clients = flags.clients();
    let who = Who::of_this_process();
    let mut done = Ok(());
    let command = flags.containerd.restart_containerd.as_deref();
    if let Err(why) = unpacker::mend(config, command) {
        github::warning(&format!("containerd asks a differ that is gone: {why:#}"));
    }
    if clients.iter().any(is_docker) {
        done = docker(config, flags, &hubcap);
        if done.is_ok() {
            holders.hold(&who, Some(Docker::NAME))?;
        }
    }
    if flags.unpack && done.is_ok() {
        unpack(started, flags, clients.iter().any(is_docker))?;
    }
    let Started { found, holders, .. } = started;
    for client in clients.iter().filter(|client| !is_docker(client)) {
        if client.is_in_containers() && hubcap.bridge.is_none() && flags.client.is_empty() {
            say!("{}", bridge::missing(&**client));
            continue;
        }
        match other(found, &**client, &hubcap) {
            Ok(()) => {
                holders.hold(&who, Some(client.name()))?;
                say!("through hubcap: {}", client.title());
            }
            Err(error) => github::warning(&format!("{} pulls as before: {error:#}", client.title())),
        }
    }
    done
}

/// Has containerd unpack with hubcap's differ. A failure is a warning: pulls are slower without it, and right.
fn unpack(started: &mut Started, flags: &Up, has_docker: bool) -> anyhow::Result<()> {
    let Started { found, holders, .. } = started;
    let command = flags.containerd.restart_containerd.as_deref();
    let wired = match has_docker {
        true => unpacker::wire(&found.config, &flags.docker.client(), command),
        false => Err(anyhow::anyhow!("dockerd is not among the clients")),
    };
    match wired {
        Ok(()) => {
            say!("containerd unpacks with hubcap's differ: proved with a pull");
            holders.hold(&Who::of_this_process(), Some(unpacker::NAME))
        }
        Err(why) => {
            github::warning(&format!("hubcap's differ does not unpack, and pulls are as before: {why:#}"));
            Ok(())
        }
    }
}

/// Configures a client that reads its files at each pull: nothing is reloaded.
fn other(found: &Found, client: &dyn Client, hubcap: &Hubcap) -> anyhow::Result<()> {
    let bridge = hubcap.bridge.clone().filter(|_| client.is_in_containers());
    let mirror =
        bridge.map_or(Ok(hubcap.mirror.clone()), |bridge| address::verified(found, bridge, false))?;
    let mut journal = Journal::open(&found.config.state, client.name())?;
    let plan = client.plan(&journal, &mirror, &hubcap.registries)?;
    clients::refuse_anothers(&plan, &journal, &mirror)?;
    client.configure(&mut journal, &mirror, &plan)?;
    changes::print_done(plan.iter().map(|planned| &planned.change));
    if client.is_in_containers() {
        client.notes(&mirror)?.iter().for_each(|note| say!("{note}"));
    }
    Ok(())
}

/// Configures dockerd, and proves with a pull that it uses hubcap; where it does not, its files are what they were before,
/// an earlier `setup` of others with them.
fn docker(config: &Config, flags: &Up, hubcap: &Hubcap) -> anyhow::Result<()> {
    let Hubcap { mirror, registries, .. } = hubcap;
    let docker = flags.docker.client().find()?;
    let mut journal = Journal::open(&config.state, Docker::NAME)?;
    let mut plan = docker.plan(&journal, mirror, registries)?;
    clients::refuse_anothers(&plan, &journal, mirror)?;
    let switches = store::is_to_switch(&docker, flags)?;
    if switches {
        plan = docker.with_containerd_store(&journal, plan)?;
    }
    let builds_wait = docker.builds_wait_for_restart(&plan);
    let is_needed = switches || builds_wait || !docker.can_reload();
    let restart = restart::plan(&docker, &flags.restart, is_needed)?;
    let applied = docker.configure(&mut journal, (mirror, &plan), restart.as_ref())?;
    changes::print_done(plan.iter().map(|planned| &planned.change));
    let version = match docker.version() {
        Ok(version) => version,
        Err(why) => {
            say!("{why}; once it runs, it asks {} first", mirror.url());
            return Ok(());
        }
    };
    // After a restart it is another process.
    let running = flags.docker.client().find()?;
    let proved = if switches { store::check(&running) } else { Ok(()) }.and_then(|()| proof::pull(&running));
    if let Err(error) = proved {
        running.go_back(&mut journal, applied)?;
        if switches {
            store::restart_with_its_own(&running, flags, &journal).with_context(|| {
                format!("{error:#}. Its files are as they were, and it does not run with them")
            })?;
        }
        return Err(error);
    }
    say!(
        "dockerd {version} pulls through {}: proved with a pull of {}",
        mirror.url(),
        hubcap_proxy::PROBE_IMAGE
    );
    if let Some(unpacking) = unpacking::told(&running, unpacker::is_wired(config), &journal) {
        say!("{unpacking}");
    }
    for coverage in running.coverage(&registries.named).unwrap_or_default() {
        let not = if coverage.uses_mirror { "" } else { "not " };
        say!("{not}through hubcap: {}", coverage.pulls);
    }
    if builds_wait && restart.is_none() {
        restart::print_how(&docker);
    }
    say!(
        "not through hubcap: what the runner pulled before, and for some minutes builds from what it just built from"
    );
    Ok(())
}

/// Prints what would be changed, as a diff.
fn print(found: &Found, flags: &Up) -> anyhow::Result<ExitCode> {
    let Found { config, status, .. } = found;
    let mirror = address::mirror(config, status.as_ref())?;
    let bridge = bridge::mirror(found, flags, &mirror);
    let registries = address::registries(config, status.as_ref()).into();
    for client in flags.clients() {
        let journal = Journal::open(&config.state, client.name())?;
        let mirror = match &bridge {
            None if client.is_in_containers() && flags.client.is_empty() => continue,
            Some(bridge) if client.is_in_containers() => bridge,
            _ => &mirror,
        };
        let mut plan = client.plan(&journal, mirror, &registries)?;
        if is_docker(&client) {
            plan = store::with_store(&flags.docker.client().find()?, flags, &journal, plan)?;
        }
        changes::print_diff(plan.iter().map(|planned| &planned.change));
    }
    if flags.unpack {
        match unpacker::plan(config, &flags.docker.client()) {
            Ok(changes) => changes::print_diff(&changes),
            Err(why) => eprintln!("hubcap: its differ would not unpack: {why:#}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a client is dockerd, which is proved with a pull.
fn is_docker(client: &Arc<dyn Client>) -> bool {
    client.name() == Docker::NAME
}

impl Up {
    /// The clients to configure. `up` for a dockerd elsewhere is for that one alone.
    fn clients(&self) -> Vec<Arc<dyn Client>> {
        let DockerFlags { docker_host, daemon_json, certs_dir } = &self.docker;
        let elsewhere = docker_host.is_some() || daemon_json.is_some() || certs_dir.is_some();
        let mut clients = if !self.client.is_empty() {
            self.client.clone()
        } else if elsewhere {
            vec![Arc::new(Docker::default()) as Arc<dyn Client>]
        } else {
            hubcap_clients::all().into_iter().filter(|client| client.is_used_here()).collect()
        };
        for docker in clients.iter_mut().filter(|client| is_docker(client)) {
            *docker = Arc::new(self.docker.client());
        }
        clients
    }
}
