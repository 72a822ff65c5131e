//! The clients beside dockerd: containerd, BuildKit's own builders, and podman with buildah and skopeo. They read their
//! files by themselves, so there is nothing to reload and nothing to wait for.

use std::process::ExitCode;

use hubcap_clients::{Client, Journal, Mirror, Registries};

use crate::args::UnsetFlags;
use crate::clients;
use crate::daemon::holders::{Holders, Who};
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// Configures a client.
pub(crate) fn configure(
    config: &Config,
    client: &dyn Client,
    mirror: &Mirror,
    registries: &Registries,
) -> anyhow::Result<ExitCode> {
    let mut holders = Holders::open_to_hold(&config.state)?;
    let mut journal = Journal::open(&config.state, client.name())?;
    let plan = client.plan(&journal, mirror, registries)?;
    clients::refuse_anothers(&plan, &journal, mirror)?;
    client.configure(&mut journal, mirror, &plan)?;
    holders.hold(&Who::Setup(client.name().into()), Some(client.name()))?;
    changes::print_done(plan.iter().map(|planned| &planned.change));
    say!("{} now asks {} first", client.title(), mirror.url());
    for note in client.notes(mirror)? {
        say!("{note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what configuring a client would change.
pub(crate) fn print(
    config: &Config,
    client: &dyn Client,
    mirror: &Mirror,
    registries: &Registries,
) -> anyhow::Result<ExitCode> {
    let journal = Journal::open(&config.state, client.name())?;
    let plan = client.plan(&journal, mirror, registries)?;
    changes::print_diff(plan.iter().map(|planned| &planned.change));
    Ok(ExitCode::SUCCESS)
}

/// Restores a client's files, or prints what that would change.
pub(crate) fn unset(config: &Config, flags: &UnsetFlags, client: &dyn Client) -> anyhow::Result<ExitCode> {
    let journal = Journal::open(&config.state, client.name())?;
    if journal.is_empty() {
        say!("{} is not set up from {}: nothing to do", client.title(), config.state.display());
        return Ok(ExitCode::SUCCESS);
    }
    if flags.print {
        changes::print_diff(&journal.plan_undo()?);
        return Ok(ExitCode::SUCCESS);
    }
    if clients::is_free_to_restore(client, &mut Holders::open(&config.state)?)? {
        clients::restore(config, client)?;
    }
    Ok(ExitCode::SUCCESS)
}
