//! The clients beside dockerd, each by its journal and by its own files.

use std::net::SocketAddr;

use hubcap_admin::Status;
use hubcap_clients::buildkit::{self, Builder};
use hubcap_clients::{Buildkit, Client, Docker, Journal, is_installed};

use super::finding::{Finding, State};
use crate::daemon::address;
use crate::settings::Config;

pub(super) fn look(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let mut found = Vec::new();
    for client in hubcap_clients::all().iter().filter(|client| client.name() != Docker::NAME) {
        let name = client.name();
        let setup = format!("hubcap setup {name}");
        let journal = match Journal::open(&config.state, name) {
            Ok(journal) => journal,
            Err(error) => {
                found.push(Finding::new(State::Broken, name, error.to_string()));
                continue;
            }
        };
        let installed: Vec<&str> =
            client.programs().iter().copied().filter(|program| is_installed(program)).collect();
        if !journal.is_empty() {
            let drift = drift(&journal, name, &setup);
            if drift.is_empty() {
                found.extend(coverage(config, status, &**client));
            }
            found.extend(drift);
        } else if !installed.is_empty() {
            let says = format!("pulls of {} go past hubcap", installed.join(", "));
            found.push(Finding::new(State::Past, name, says).remedy(setup));
        }
    }
    found.extend(builders(config, status));
    found
}

/// Which pulls of a client use the mirror.
fn coverage(config: &Config, status: Option<&Status>, client: &dyn Client) -> Vec<Finding> {
    match client.coverage(&address::registries(config, status)) {
        Ok(coverage) => coverage.into_iter().map(|one| Finding::coverage(client.name(), one)).collect(),
        Err(error) => vec![Finding::new(State::Through, client.name(), error.to_string())],
    }
}

/// Files that were changed since hubcap wrote them.
pub(super) fn drift(journal: &Journal, about: &'static str, setup: &str) -> Vec<Finding> {
    match journal.changed_since() {
        Ok(paths) => {
            let changed = paths.into_iter().map(|path| {
                let says = format!("{} was changed since hubcap wrote it", path.display());
                Finding::new(State::Broken, about, says).remedy(format!("{setup}, with its registries"))
            });
            changed.collect()
        }
        Err(error) => vec![Finding::new(State::Broken, about, error.to_string())],
    }
}

/// buildx's builders. Each has a copy of the configuration that was there when it was made.
fn builders(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let is_set_up = Journal::open(&config.state, Buildkit::NAME).is_ok_and(|journal| !journal.is_empty());
    let setup = if is_set_up { "" } else { "hubcap setup buildkit; " };
    let address = status.and_then(|status| status.daemon.listen).unwrap_or(config.listen);
    let bridges = status.map_or(&config.bridges, |status| &status.daemon.bridges);
    let builders = buildkit::builders().into_iter().filter(Builder::has_own_buildkit);
    builders
        .map(|builder| match bridges.iter().find(|bridge| builder.config.contains(&bridge.to_string())) {
            Some(_) => Finding::new(State::Through, Buildkit::NAME, format!("the builder {}", builder.name)),
            None if bridges.is_empty() => self::builder(&builder, address, setup),
            None => self::builder(&builder, SocketAddr::V4(bridges[0]), setup),
        })
        .collect()
}

fn builder(builder: &Builder, address: SocketAddr, setup: &str) -> Finding {
    let (about, name) = (Buildkit::NAME, &builder.name);
    let network = if address.ip().is_loopback() { " --driver-opt network=host" } else { "" };
    let remake = format!("docker buildx rm {name}; docker buildx create --name {name}{network}");
    if !builder.config.contains(&address.to_string()) {
        return Finding::new(State::Past, about, format!("the builder {name} was made without hubcap"))
            .remedy(format!("{setup}{remake}"));
    }
    if address.ip().is_loopback() && !builder.host_network {
        let says = format!("the builder {name} asks {address}, which is its own container there");
        return Finding::new(State::Broken, about, says).remedy(remake);
    }
    Finding::new(State::Through, about, format!("the builder {name}"))
}
