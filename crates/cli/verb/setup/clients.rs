//! The clients beside dockerd: containerd, BuildKit's own builders, and podman with buildah and skopeo. They read their
//! files by themselves, so there is nothing to reload and nothing to wait for.

use std::process::ExitCode;

use hubcap_clients::{Buildkit, Client, Containerd, Error, Journal, Mirror, Planned, Podman, Registries};
use hubcap_oci::Registry;

use super::named;
use crate::args::{SetupBuildkit, SetupContainerd, SetupPodman, Unwire, Wire};
use crate::clients;
use crate::settings::Config;
use crate::show::changes;

pub(crate) fn containerd(
    config: &Config,
    flags: &SetupContainerd,
    mirror: &Mirror,
    known: &[Registry],
) -> anyhow::Result<ExitCode> {
    let containerd = Containerd::find(&flags.containerd.at())?;
    let registries = Registries { named: named(&flags.wire, known), every_other: flags.all };
    wire(config, &flags.wire, (Client::Containerd, mirror), |journal| {
        Ok((containerd.plan((journal, mirror), &registries)?, containerd.notes()))
    })
}

pub(crate) fn buildkit(
    config: &Config,
    flags: &SetupBuildkit,
    mirror: &Mirror,
    known: &[Registry],
) -> anyhow::Result<ExitCode> {
    let buildkit = Buildkit::find(&flags.buildkitd_toml)?;
    let registries = named(&flags.wire, known);
    wire(config, &flags.wire, (Client::Buildkit, mirror), |journal| {
        Ok((buildkit.plan((journal, mirror), &registries)?, Buildkit::notes(mirror)))
    })
}

pub(crate) fn podman(
    config: &Config,
    flags: &SetupPodman,
    mirror: &Mirror,
    known: &[Registry],
) -> anyhow::Result<ExitCode> {
    let podman = Podman::find(&flags.podman.at())?;
    let registries = named(&flags.wire, known);
    wire(config, &flags.wire, (Client::Podman, mirror), |journal| {
        Ok((podman.plan((journal, mirror), &registries)?, Podman::notes()))
    })
}

/// Wires a client, or prints what that would change.
fn wire(
    config: &Config,
    flags: &Wire,
    (client, mirror): (Client, &Mirror),
    plan: impl FnOnce(&Journal) -> Result<(Vec<Planned>, Vec<String>), Error>,
) -> anyhow::Result<ExitCode> {
    let mut journal = Journal::open(&config.state, client)?;
    let (plan, notes) = plan(&journal)?;
    if flags.print {
        changes::print_diff(plan.iter().map(|(change, _)| change));
        return Ok(ExitCode::SUCCESS);
    }
    journal.apply(&plan)?;
    changes::print_done(plan.iter().map(|(change, _)| change));
    println!("{} now asks {} first", client.title(), mirror.url());
    for note in notes {
        println!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Restores a client's files, or prints what that would change.
pub(crate) fn unset(config: &Config, flags: &Unwire, client: Client) -> anyhow::Result<ExitCode> {
    let journal = Journal::open(&config.state, client)?;
    if journal.is_empty() {
        println!("{} is not wired from {}: nothing to do", client.title(), config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.print {
        changes::print_diff(&clients::plan_undo(client, &journal)?);
        return Ok(ExitCode::SUCCESS);
    }
    clients::undo(config, client).map(|()| ExitCode::SUCCESS)
}
