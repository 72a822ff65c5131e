//! The clients beside dockerd, each by its journal and by its own files.

use std::net::SocketAddr;

use hubcap_clients::buildkit::{self, Builder};
use hubcap_clients::{Buildkit, Client, Docker, Journal, is_installed};

use super::files::Files;
use super::finding::{Finding, State};
use super::subject::Subject;
use crate::daemon::address;

pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for client in hubcap_clients::all().iter().filter(|client| client.name() != Docker::NAME) {
        match subject.journal(client.name()) {
            Ok(journal) => found.extend(one(subject, &**client, &journal)),
            Err(error) => found.push(Finding::new(State::Broken, client.name(), error.to_string())),
        }
    }
    found.extend(builders(subject));
    found
}

fn one(subject: &Subject, client: &dyn Client, journal: &Journal) -> Vec<Finding> {
    let name = client.name();
    if journal.is_empty() {
        let installed: Vec<&str> =
            client.programs().iter().copied().filter(|program| is_installed(program)).collect();
        let says = format!("pulls of {} go past hubcap", installed.join(", "));
        let past = Finding::new(State::Past, name, says).remedy(subject.setup(name, "", ""));
        return if installed.is_empty() { Vec::new() } else { vec![past] };
    }
    let mut found = Files { about: name, journal, client: name, flags: String::new() }.look(subject);
    // While hubcap does not run, the daemon's finding says what its clients do.
    if subject.answers.is_ok() && found.iter().all(|finding| finding.state != State::Broken) {
        let registries = address::registries(&subject.settings, subject.status());
        match client.coverage(journal, &registries) {
            Ok(coverage) => found.extend(coverage.into_iter().map(|one| subject.coverage(name, one))),
            Err(error) => found.push(Finding::new(State::Broken, name, error.to_string())),
        }
    }
    found
}

/// buildx's builders. Each has a copy of the configuration that was there when it was made.
fn builders(subject: &Subject) -> Vec<Finding> {
    let Some(mirror) = &subject.mirror else { return Vec::new() };
    let is_set_up = subject.journal(Buildkit::NAME).is_ok_and(|journal| !journal.is_empty());
    let setup =
        if is_set_up { String::new() } else { format!("{}; ", subject.setup(Buildkit::NAME, "", "")) };
    let bridges = subject.status().map_or(&subject.settings.bridges, |status| &status.daemon.bridges);
    let builders = buildkit::builders().into_iter().filter(Builder::has_own_buildkit);
    // One that asks any bridge is right; else it is to ask the first one.
    let address = |builder: &Builder| {
        let mut bridges = bridges.iter().copied().map(SocketAddr::V4);
        let asked = bridges.clone().find(|bridge| builder.config.contains(&bridge.to_string()));
        asked.or_else(|| bridges.next()).unwrap_or(mirror.address)
    };
    builders.map(|builder| self::builder(&builder, address(&builder), &setup)).collect()
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
