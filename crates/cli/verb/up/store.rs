//! dockerd switched to containerd's image store, where `--image-store` asks for that.

use anyhow::bail;
use hubcap_clients::{Dockerd, Journal, Plan};

use crate::args::Up;
use crate::job::github;
use crate::show::strangers::say;

/// Whether dockerd is to be switched. In a GitHub job a refusal is a warning, and the pulls use hubcap all the same.
///
/// # Errors
/// Why it is not switched.
pub(super) fn is_to_switch(docker: &Dockerd, flags: &Up) -> anyhow::Result<bool> {
    if flags.image_store.is_none() {
        return Ok(false);
    }
    if docker.has_containerd_store() {
        say!("dockerd has containerd's image store already");
        return Ok(false);
    }
    match allow(docker, flags) {
        Ok(()) => Ok(true),
        Err(why) if github::is_job() => {
            github::warning(&format!("dockerd keeps its own image store: {why:#}"));
            Ok(false)
        }
        Err(why) => Err(why.context("dockerd is not switched to containerd's image store")),
    }
}

/// The plan with the store that is asked for, whatever is in the present one.
///
/// # Errors
/// When `daemon.json` is not what dockerd takes.
pub(super) fn with_store(
    docker: &Dockerd,
    flags: &Up,
    journal: &Journal,
    plan: Plan,
) -> anyhow::Result<Plan> {
    if flags.image_store.is_none() || docker.has_containerd_store() {
        return Ok(plan);
    }
    Ok(docker.with_containerd_store(journal, plan)?)
}

/// Checks that dockerd, restarted, has the store.
///
/// # Errors
/// When it has not.
pub(super) fn check(docker: &Dockerd) -> anyhow::Result<()> {
    if !docker.has_containerd_store() {
        bail!("dockerd was restarted to have containerd's image store, and still has its own");
    }
    Ok(())
}

/// Restarts a dockerd whose files are as they were, so that it has its own store again.
///
/// # Errors
/// When it does not come back.
pub(super) fn restart_with_its_own(docker: &Dockerd, flags: &Up, journal: &Journal) -> anyhow::Result<()> {
    let restart = docker.how_to_restart(flags.restart.restart_command.as_deref())?;
    docker.restart(&restart, journal)?;
    say!("dockerd is restarted with its own image store");
    Ok(())
}

fn allow(docker: &Dockerd, flags: &Up) -> anyhow::Result<()> {
    let in_sight = docker.in_sight()?;
    if !in_sight.is_empty() && !flags.force {
        bail!(
            "it would not see {in_sight} until `hubcap down --restart`. Remove what is not needed, or say --force"
        );
    }
    if !flags.restart.is_wanted() {
        bail!("that needs a restart of dockerd: add --restart, or --restart-command COMMAND");
    }
    Ok(())
}
