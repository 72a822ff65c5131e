//! What `up`, `down` and `setup` do alike with every client.

use anyhow::bail;
use hubcap_clients::{Another, Client, Docker, Journal, Mirror, Planned};

use crate::daemon::answers;
use crate::daemon::holders::{self, Holders, Who};
use crate::settings::Config;
use crate::show::changes;
use crate::show::strangers::say;

/// Restores a client's files; nothing to do is no error.
pub(crate) fn restore(config: &Config, client: &dyn Client) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, client.name())?;
    if !journal.is_empty() {
        changes::print_done(&client.undo(&mut journal)?);
        print_restored(client);
    }
    Ok(())
}

/// Refuses a plan that would take a client away from another hubcap, with another state directory, that still runs: its
/// `down` would then take the client away from this one.
///
/// # Errors
/// Names the file, the other hubcap, and both ways out.
pub(crate) fn refuse_anothers(plan: &[Planned], journal: &Journal, mirror: &Mirror) -> anyhow::Result<()> {
    refuse_another(Another::replaced_by(plan, journal, mirror))
}

/// Refuses to take a client away from this other hubcap, if it still runs.
///
/// # Errors
/// As [`refuse_anothers`].
pub(crate) fn refuse_another(another: Option<Another>) -> anyhow::Result<()> {
    let Some(Another { path, address }) = another else { return Ok(()) };
    if answers::https(address).is_ok() {
        bail!(
            "{} is configured for another hubcap, which runs on {address}. Share that one by its --state, or end it first \
             (`hubcap down` of the user who started it)",
            path.display()
        );
    }
    Ok(())
}

/// Restores a client's files, unless a holder needs them.
pub(crate) fn restore_unless_held(
    config: &Config,
    client: &dyn Client,
    holders: &Holders,
) -> anyhow::Result<()> {
    if is_held(client, holders) { Ok(()) } else { restore(config, client) }
}

/// Whether a holder needs a client's files; says who does.
pub(crate) fn is_held(client: &dyn Client, holders: &Holders) -> bool {
    let needing = holders.of_client(client.name());
    if !needing.is_empty() {
        print_held(client, &needing);
    }
    !needing.is_empty()
}

/// Ends a client's `setup`, and what this job or user held of the client. Whether nobody else needs its files; says who does.
///
/// # Errors
/// When that cannot be written down.
pub(crate) fn is_free_to_restore(client: &dyn Client, holders: &mut Holders) -> anyhow::Result<bool> {
    holders.release(&Who::Setup(client.name().into()));
    holders.release_client(&Who::of_this_process(), client.name());
    holders.save()?;
    Ok(!is_held(client, holders))
}

/// Prints who needs a client's files.
fn print_held(client: &dyn Client, needing: &[&Who]) {
    say!(
        "the files of {} stay: {} still needs them; `hubcap down --force` restores them all the same",
        client.title(),
        holders::sentence(needing)
    );
}

/// Prints that a client's files are restored.
pub(crate) fn print_restored(client: &dyn Client) {
    if client.name() == Docker::NAME {
        say!("dockerd's files are as they were");
    } else {
        say!("the files of {} are as they were", client.title());
    }
}
