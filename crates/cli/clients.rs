//! What `up`, `down` and `setup` do alike with every client.

use hubcap_clients::{Client, Docker, Journal};

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

/// Prints that a client's files are restored.
pub(crate) fn print_restored(client: &dyn Client) {
    if client.name() == Docker::NAME {
        println!("dockerd's files are as they were");
    } else {
        println!("the files of {} are as they were", client.title());
    }
}
