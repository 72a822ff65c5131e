//! `hubcap setup` and `hubcap unset`: configures a client, and restores its files.

mod clients;
mod cluster;
mod unpacking;

use std::process::ExitCode;

use anyhow::bail;
use hubcap_admin::Status;
use hubcap_clients::{
    Buildkit, Client, Cluster, Containerd, Docker, Journal, Mirror, Podman, Proxy, Registries,
};
use hubcap_oci::Registry;

use crate::args::{Setup, SetupCluster, SetupDocker, SetupFlags, Unset, UnsetDocker};
use crate::clients::{is_free_to_restore, refuse_anothers};
use crate::daemon::find::{self, Found};
use crate::daemon::holders::{Holders, Who};
use crate::daemon::verify::{self, Unverified};
use crate::daemon::{address, agree};
use crate::restart;
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// Configures a client, or prints what that would change.
pub(crate) fn run(config: &Config, setup: &Setup) -> anyhow::Result<ExitCode> {
    let found = find::daemon(config)?;
    let Found { config, status, .. } = &found;
    if let Some(status) = status {
        agree::check(config, &status.daemon)?;
    }
    let known = address::registries(config, status.as_ref());
    let mirror = match setup.flags() {
        flags if flags.print => address::mirror(config, status.as_ref())?,
        flags => address::verified_mirror(&found, flags.unchecked)?,
    };
    let (client, every_other): (Box<dyn Client>, bool) = match setup {
        Setup::Docker(flags) => return docker(&found, flags, &mirror, known),
        Setup::Containerd(flags) => (Box::new(flags.client()), flags.all),
        Setup::Buildkit(flags) => (Box::new(flags.client()), false),
        Setup::Podman(flags) => (Box::new(flags.client()), false),
        Setup::Kind(flags) => return nodes(&found, Cluster::Kind, flags, (&mirror, &known)),
        Setup::K3d(flags) => return nodes(&found, Cluster::K3d, flags, (&mirror, &known)),
        Setup::Minikube(flags) => return nodes(&found, Cluster::Minikube, flags, (&mirror, &known)),
    };
    let registries = Registries { named: named(setup.flags(), &known), every_other };
    let mirror = match address::bridge(&found, None, &mirror.ca).filter(|_| client.is_in_containers()) {
        Some(bridge) if setup.flags().print => bridge,
        Some(bridge) => address::verified(&found, bridge, setup.flags().unchecked)?,
        None => mirror,
    };
    let (unpack, command) = match setup {
        Setup::Containerd(flags) => (flags.unpack, flags.restart.restart_containerd.as_deref()),
        _ => (false, None),
    };
    match (setup.flags().print, unpack) {
        (true, _) => {
            if unpack {
                unpacking::print(config);
            }
            clients::print(config, &*client, &mirror, &registries)
        }
        (false, true) => unpacking::configure(config, command, || {
            clients::configure(config, &*client, &mirror, &registries)
        }),
        (false, false) => clients::configure(config, &*client, &mirror, &registries),
    }
}

/// Restores a client's files.
pub(crate) fn unset(config: &Config, unset: &Unset) -> anyhow::Result<ExitCode> {
    let config = &find::daemon(config)?.config;
    match unset {
        Unset::Docker(flags) => restore_dockerd(config, flags),
        Unset::Containerd(flags) => {
            unpacking::unset(config, flags)?;
            clients::unset(config, &flags.unset, &Containerd::default())
        }
        Unset::Buildkit(flags) => clients::unset(config, flags, &Buildkit::default()),
        Unset::Podman(flags) => clients::unset(config, flags, &Podman::default()),
        Unset::Kind(flags) => cluster::unset(config, flags, Cluster::Kind),
        Unset::K3d(flags) => cluster::unset(config, flags, Cluster::K3d),
        Unset::Minikube(flags) => cluster::unset(config, flags, Cluster::Minikube),
    }
}

/// Configures the nodes of a tool's clusters, or prints what that would change.
fn nodes(
    found: &Found,
    cluster: Cluster,
    SetupCluster { setup, all }: &SetupCluster,
    (mirror, known): (&Mirror, &[Registry]),
) -> anyhow::Result<ExitCode> {
    let what = (mirror, &Registries { named: named(setup, known), every_other: *all });
    match setup.print {
        true => cluster::print(found, cluster, what),
        false => cluster::configure(found, cluster, what, setup.unchecked),
    }
}

/// Configures dockerd, or prints what that would change.
fn docker(
    found: &Found,
    flags: &SetupDocker,
    mirror: &Mirror,
    known: Vec<Registry>,
) -> anyhow::Result<ExitCode> {
    let Found { config, status, .. } = found;
    // With the proxy the names are for it, and the mirrors for what hubcap knows anyway.
    let named = if flags.proxy { known } else { named(&flags.setup, &known) };
    let registries = Registries { named, every_other: flags.all };
    let docker = flags.docker.client().find()?;
    let mut journal = Journal::open(&config.state, Docker::NAME)?;
    let mut plan = docker.plan(&journal, mirror, &registries)?;
    let proxy = if flags.proxy { Some(proxy(config, status.as_ref(), flags, mirror)?) } else { None };
    if let Some(proxy) = &proxy {
        plan = docker.with_proxy(&journal, proxy, plan)?;
    }
    if flags.setup.print {
        changes::print_diff(plan.iter().map(|planned| &planned.change));
        return Ok(ExitCode::SUCCESS);
    }
    let mut holders = Holders::open_to_hold(&config.state)?;
    refuse_anothers(&plan, &journal, mirror)?;
    let reads_at_start = proxy.is_some_and(|proxy| docker.proxy() != Some(&proxy.address.to_string()));
    let builds_wait = docker.builds_wait_for_restart(&plan);
    let is_needed = reads_at_start || builds_wait || !docker.can_reload();
    let restart = restart::plan(&docker, &flags.restart, is_needed)?;
    docker.configure(&mut journal, (mirror, &plan), restart.as_ref())?;
    holders.hold(&Who::Setup(Docker::NAME.into()), Some(Docker::NAME))?;
    changes::print_done(plan.iter().map(|planned| &planned.change));
    match docker.version() {
        Ok(version) => say!("dockerd {version} now asks {} first", mirror.url()),
        Err(why) => say!("{why}; it reads {} when it starts", docker.daemon_json().display()),
    }
    if restart.is_some() {
        say!("dockerd is restarted");
    }
    if flags.proxy {
        say!(
            "once restarted, dockerd sends everything but Docker Hub's through hubcap's proxy. While hubcap does not run, \
             those pulls fail: `hubcap unset docker --restart` before it is stopped for good."
        );
    }
    if builds_wait && restart.is_none() && docker.version().is_ok() {
        say!("docker build (BuildKit) in this dockerd asks it only once dockerd is restarted");
    }
    if (reads_at_start || builds_wait) && restart.is_none() {
        restart::print_how(&docker);
    }
    Ok(ExitCode::SUCCESS)
}

/// hubcap's proxy, which answers for the registries named on the command line.
fn proxy(
    config: &Config,
    status: Option<&Status>,
    flags: &SetupDocker,
    mirror: &Mirror,
) -> anyhow::Result<Proxy> {
    let Some(address) = address::proxy(config, status) else {
        bail!("hubcap has no proxy: start it with --proxy-listen ADDR:PORT, or give that here as well")
    };
    if !flags.setup.print {
        for registry in &flags.setup.registries {
            match verify::proxy(address, &mirror.ca, registry) {
                Err(Unverified::Nothing(_)) if flags.setup.unchecked => {}
                verified => verified?,
            }
        }
    }
    Ok(Proxy {
        address,
        registries: flags.setup.registries.clone(),
        ca: mirror.ca.clone(),
        drop_in: flags.drop_in.clone(),
    })
}

/// Restores the files that [`docker`] changed, or prints what that would change.
fn restore_dockerd(config: &Config, flags: &UnsetDocker) -> anyhow::Result<ExitCode> {
    let journal = Journal::open(&config.state, Docker::NAME)?;
    if journal.is_empty() {
        say!("dockerd is not set up from {}: nothing to do", config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.unset.print {
        changes::print_diff(&journal.plan_undo()?);
        return Ok(ExitCode::SUCCESS);
    }
    let client = flags.docker.client().or_host(journal.host());
    if !is_free_to_restore(&client, &mut Holders::open(&config.state)?)? {
        return Ok(ExitCode::SUCCESS);
    }
    restart::restore_dockerd(config, &flags.docker, &flags.restart)?;
    Ok(ExitCode::SUCCESS)
}

/// The registries that were named, else those that hubcap can be asked for.
fn named(flags: &SetupFlags, known: &[Registry]) -> Vec<Registry> {
    if flags.registries.is_empty() { known.to_vec() } else { flags.registries.clone() }
}
