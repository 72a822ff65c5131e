//! The daemon.

use hubcap_admin::Status;
use hubcap_clients::Journal;

use super::finding::{Finding, State};
use crate::daemon::answers;
use crate::settings::Config;

pub(super) fn look(config: &Config, status: Option<&Status>) -> Finding {
    let Some(Status { daemon, .. }) = status else { return none_runs(config) };
    let says = format!("hubcap {} runs as {}", daemon.version, daemon.pid);
    match daemon.listen.map(|listen| (listen, answers::https(listen))) {
        Some((listen, Ok(_))) => {
            Finding::new(State::Fine, "daemon", format!("{says} and answers on https://{listen}"))
        }
        Some((listen, Err(why))) => {
            Finding::new(State::Broken, "daemon", format!("{says} but does not answer on {listen}: {why:#}"))
                .remedy("hubcap down; hubcap up")
        }
        None => {
            Finding::new(State::Note, "daemon", format!("{says}, without HTTPS: dockerd cannot use it so"))
        }
    }
}

fn none_runs(config: &Config) -> Finding {
    let clients = hubcap_clients::all();
    let configured = clients.iter().filter(|client| {
        Journal::open(&config.state, client.name()).is_ok_and(|journal| !journal.is_empty())
    });
    let titles: Vec<&str> = configured.map(|client| client.title()).collect();
    let state = config.state.display();
    if titles.is_empty() {
        return Finding::new(State::Note, "daemon", format!("none runs from {state}")).remedy("hubcap up");
    }
    let says =
        format!("none runs from {state}, but {} ask it first, each time in vain", titles.join(" and "));
    Finding::new(State::Broken, "daemon", says).remedy("hubcap up, or hubcap unset CLIENT")
}
