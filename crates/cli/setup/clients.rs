//! The clients beside dockerd: containerd, BuildKit's own builders, and podman with buildah and skopeo. They read their
//! files by themselves, so there is nothing to reload and nothing to wait for.

use std::process::ExitCode;

use anyhow::bail;

use hubcap_wiring::{Buildkit, Client, Containerd, Error, Mirror, Planned, Podman, Registries, Wiring};

use super::{mirror, named, print, tell};
use crate::args::{SetupBuildkit, SetupContainerd, SetupPodman, Unwire, Wire};
use crate::config::Config;

pub(crate) fn containerd(config: &Config, flags: &SetupContainerd) -> anyhow::Result<ExitCode> {
    let containerd = Containerd::find(&flags.containerd.at())?;
    let registries = Registries { named: named(config, &flags.wire), every_other: flags.all };
    wire((config, &flags.wire), Client::Containerd, |wiring, mirror| {
        Ok((containerd.plan((wiring, mirror), &registries)?, containerd.notes()))
    })
}

pub(crate) fn buildkit(config: &Config, flags: &SetupBuildkit) -> anyhow::Result<ExitCode> {
    let buildkit = Buildkit::find(&flags.buildkitd_toml)?;
    let registries = named(config, &flags.wire);
    wire((config, &flags.wire), Client::Buildkit, |wiring, mirror| {
        Ok((buildkit.plan((wiring, mirror), &registries)?, Buildkit::notes(mirror)))
    })
}

pub(crate) fn podman(config: &Config, flags: &SetupPodman) -> anyhow::Result<ExitCode> {
    let podman = Podman::find(&flags.podman.at())?;
    let registries = named(config, &flags.wire);
    wire((config, &flags.wire), Client::Podman, |wiring, mirror| {
        Ok((podman.plan((wiring, mirror), &registries)?, Podman::notes()))
    })
}

/// Wires a client, or prints what that would change.
fn wire(
    (config, flags): (&Config, &Wire),
    client: Client,
    plan: impl FnOnce(&Wiring, &Mirror) -> Result<(Vec<Planned>, Vec<String>), Error>,
) -> anyhow::Result<ExitCode> {
    let mirror = mirror(config, !flags.print)?;
    let mut wiring = Wiring::open(&config.state, client)?;
    let (plan, notes) = plan(&wiring, &mirror)?;
    if flags.print {
        print(plan.iter().map(|(change, _)| change));
        return Ok(ExitCode::SUCCESS);
    }
    wiring.make(&plan)?;
    tell(plan.iter().map(|(change, _)| change));
    println!("{} now asks {} first", client.title(), mirror.url());
    for note in notes {
        println!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a client's wiring back, or prints what that would change.
pub(crate) fn unset((config, flags): (&Config, &Unwire), client: Client) -> anyhow::Result<ExitCode> {
    let mut wiring = Wiring::open(&config.state, client)?;
    if wiring.is_empty() {
        println!("{} is not wired from {}: nothing to do", client.title(), config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    let changes = match client {
        Client::Containerd => Containerd::unplan(&wiring),
        Client::Buildkit => Buildkit::unplan(&wiring),
        Client::Podman => Podman::unplan(&wiring),
        Client::Docker => bail!("dockerd has to be told; it is not unset here"),
    }?;
    if flags.print {
        print(&changes);
        return Ok(ExitCode::SUCCESS);
    }
    wiring.undo(&changes)?;
    tell(&changes);
    println!("the files of {} are as they were", client.title());
    Ok(ExitCode::SUCCESS)
}
