//! The clients beside dockerd: containerd, BuildKit's own builders, and podman with buildah and skopeo. They read their
//! files by themselves, so there is nothing to reload and nothing to wait for.

use std::process::ExitCode;

use anyhow::bail;

use hubcap_clients::{
    Buildkit, Change, Client, Containerd, ContainerdAt, Cri, Error, Journal, Mirror, Planned, Podman,
    PodmanAt, Registries,
};
use hubcap_oci::Registry;

use super::{mirror, named, print, tell};
use crate::args::{SetupBuildkit, SetupContainerd, SetupPodman, Unwire, Wire};
use crate::settings::Config;
use crate::verb::doctor::is_installed;

pub(crate) fn containerd(config: &Config, flags: &SetupContainerd) -> anyhow::Result<ExitCode> {
    let containerd = Containerd::find(&flags.containerd.at())?;
    let registries = Registries { named: named(config, &flags.wire), every_other: flags.all };
    wire((config, &flags.wire), Client::Containerd, |journal, mirror| {
        Ok((containerd.plan((journal, mirror), &registries)?, containerd.notes()))
    })
}

pub(crate) fn buildkit(config: &Config, flags: &SetupBuildkit) -> anyhow::Result<ExitCode> {
    let buildkit = Buildkit::find(&flags.buildkitd_toml)?;
    let registries = named(config, &flags.wire);
    wire((config, &flags.wire), Client::Buildkit, |journal, mirror| {
        Ok((buildkit.plan((journal, mirror), &registries)?, Buildkit::notes(mirror)))
    })
}

pub(crate) fn podman(config: &Config, flags: &SetupPodman) -> anyhow::Result<ExitCode> {
    let podman = Podman::find(&flags.podman.at())?;
    let registries = named(config, &flags.wire);
    wire((config, &flags.wire), Client::Podman, |journal, mirror| {
        Ok((podman.plan((journal, mirror), &registries)?, Podman::notes()))
    })
}

/// Whether a client is on this machine, and would use what is wired.
pub(crate) fn is_found(client: Client) -> bool {
    match client {
        Client::Docker => true,
        Client::Podman => ["podman", "buildah", "skopeo"].into_iter().any(is_installed),
        Client::Containerd => Containerd::find(&ContainerdAt::default())
            .is_ok_and(|containerd| containerd.is_installed() && !matches!(containerd.cri(), Cri::Not(_))),
        // Its builders are in containers, mostly, whose loopback is not this one.
        Client::Buildkit => false,
    }
}

/// What configuring a client beside dockerd would change, at its usual places.
pub(crate) fn plan(
    client: Client,
    (journal, mirror): (&Journal, &Mirror),
    named: &[Registry],
) -> Result<Vec<Planned>, Error> {
    match client {
        Client::Docker => Ok(Vec::new()),
        Client::Podman => Podman::find(&PodmanAt::default())?.plan((journal, mirror), named),
        Client::Containerd => {
            let registries = Registries { named: named.to_vec(), every_other: false };
            Containerd::find(&ContainerdAt::default())?.plan((journal, mirror), &registries)
        }
        Client::Buildkit => Buildkit::find(&[])?.plan((journal, mirror), named),
    }
}

/// Restores a client's files; nothing to do is no error.
pub(crate) fn undo(config: &Config, client: Client) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, client)?;
    if !journal.is_empty() {
        let changes = plan_undo(client, &journal)?;
        journal.undo(&changes)?;
        tell(&changes);
        println!("the files of {} are as they were", client.title());
    }
    Ok(())
}

/// Wires a client, or prints what that would change.
fn wire(
    (config, flags): (&Config, &Wire),
    client: Client,
    plan: impl FnOnce(&Journal, &Mirror) -> Result<(Vec<Planned>, Vec<String>), Error>,
) -> anyhow::Result<ExitCode> {
    let mirror = mirror(config, !flags.print)?;
    let mut journal = Journal::open(&config.state, client)?;
    let (plan, notes) = plan(&journal, &mirror)?;
    if flags.print {
        print(plan.iter().map(|(change, _)| change));
        return Ok(ExitCode::SUCCESS);
    }
    journal.apply(&plan)?;
    tell(plan.iter().map(|(change, _)| change));
    println!("{} now asks {} first", client.title(), mirror.url());
    for note in notes {
        println!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Restores a client's files, or prints what that would change.
pub(crate) fn unset((config, flags): (&Config, &Unwire), client: Client) -> anyhow::Result<ExitCode> {
    let journal = Journal::open(&config.state, client)?;
    if journal.is_empty() {
        println!("{} is not wired from {}: nothing to do", client.title(), config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.print {
        print(&plan_undo(client, &journal)?);
        return Ok(ExitCode::SUCCESS);
    }
    undo(config, client).map(|()| ExitCode::SUCCESS)
}

fn plan_undo(client: Client, journal: &Journal) -> anyhow::Result<Vec<Change>> {
    match client {
        Client::Containerd => Ok(Containerd::plan_undo(journal)?),
        Client::Buildkit => Ok(Buildkit::plan_undo(journal)?),
        Client::Podman => Ok(Podman::plan_undo(journal)?),
        Client::Docker => bail!("dockerd has to be told; it is not unset here"),
    }
}
