//! What `up`, `down` and `setup` do alike with every client.

use hubcap_clients::{Client, Docker, Journal};

use crate::daemon::holders::{self, Holders, Who};
use crate::settings::Config;
use crate::show::changes;

/// Restores a client's files; nothing to do is no error.
pub(crate) fn restore(config: &Config, client: &dyn Client) -> anyhow::Result<()> {
    let mut journal = Journal::open(&config.state, client.name())?;
    if !journal.is_empty() {
        changes::print_done(&client.undo(&mut journal)?);
        print_restored(client);
    }
    Ok(())
}

/// Restores a client's files, unless a holder needs them.
pub(crate) fn restore_unless_held(
    config: &Config,
    client: &dyn Client,
    holders: &Holders,
) -> anyhow::Result<()> {
    let needing = holders.of_client(client.name());
    if needing.is_empty() {
        return restore(config, client);
    }
    print_held(client, &needing);
    Ok(())
}

/// Ends a client's `setup`, and what this job or user held of the client. Whether nobody else needs its files; says who does.
///
/// # Errors
/// When that cannot be written down.
pub(crate) fn is_free_to_restore(client: &dyn Client, holders: &mut Holders) -> anyhow::Result<bool> {
    holders.release(&Who::Setup(client.name().into()));
    holders.release_client(&Who::of_this_process(), client.name());
    holders.save()?;
    let needing = holders.of_client(client.name());
    if !needing.is_empty() {
        print_held(client, &needing);
    }
    Ok(needing.is_empty())
}

/// Prints who needs a client's files.
fn print_held(client: &dyn Client, needing: &[&Who]) {
    println!(
        "the files of {} stay: {} still needs them; `hubcap down --force` restores them all the same",
        client.title(),
        holders::sentence(needing)
    );
}

/// Prints that a client's files are restored.
pub(crate) fn print_restored(client: &dyn Client) {
    if client.name() == Docker::NAME {
        println!("dockerd's files are as they were");
    } else {
        println!("the files of {} are as they were", client.title());
    }
}
