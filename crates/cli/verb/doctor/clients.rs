//! The clients beside dockerd, each by its journal and by its own files.

use hubcap_clients::{Client, Containerd, ContainerdAt, Journal};

use super::{Finding, State};
use crate::admin::Status;
use crate::clients::is_installed;
use crate::settings::Config;

pub(super) fn look(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (client, programs) in [
        (Client::Containerd, &["containerd"][..]),
        (Client::Podman, &["podman", "buildah", "skopeo"]),
        (Client::Buildkit, &["docker", "buildkitd"]),
    ] {
        let setup = format!("hubcap setup {}", client.name());
        let journal = match Journal::open(&config.state, client) {
            Ok(journal) => journal,
            Err(error) => {
                found.push(Finding::new(State::Broken, client.name(), error.to_string()));
                continue;
            }
        };
        let installed: Vec<&str> = programs.iter().copied().filter(|name| is_installed(name)).collect();
        if !journal.is_empty() {
            let drift = drift(&journal, client.name(), &setup);
            if drift.is_empty() {
                found.push(Finding::new(State::Through, client.name(), through(client)));
            }
            found.extend(drift);
        } else if !installed.is_empty() && client != Client::Buildkit {
            let says = format!("pulls of {} go past hubcap", installed.join(", "));
            found.push(Finding::new(State::Past, client.name(), says).mend(setup));
        }
    }
    found.extend(builders(config, status));
    found
}

/// Files that are not any more as hubcap left them.
pub(super) fn drift(journal: &Journal, about: &'static str, setup: &str) -> Vec<Finding> {
    match journal.changed_since() {
        Ok(paths) => {
            let says =
                |path: std::path::PathBuf| format!("{} was changed since hubcap wrote it", path.display());
            let finding = |path| {
                Finding::new(State::Broken, about, says(path)).mend(format!("{setup}, with its registries"))
            };
            paths.into_iter().map(finding).collect()
        }
        Err(error) => vec![Finding::new(State::Broken, about, error.to_string())],
    }
}

fn through(client: Client) -> String {
    match client {
        Client::Containerd => match Containerd::find(&ContainerdAt::default()) {
            Ok(containerd) => containerd.notes().join("; ").replace('\n', " "),
            Err(error) => error.to_string(),
        },
        Client::Podman => "podman, buildah and skopeo with the registries of zz-hubcap.conf".to_owned(),
        Client::Buildkit => "builders that are made from now on".to_owned(),
        Client::Docker => "dockerd".to_owned(),
    }
}

/// buildx's builders: each has a copy of the configuration of its day.
fn builders(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let (about, wired) =
        ("buildkit", Journal::open(&config.state, Client::Buildkit).is_ok_and(|journal| !journal.is_empty()));
    let address = status.and_then(|status| status.listen).unwrap_or(config.listen);
    let builders =
        hubcap_clients::buildkit::builders().into_iter().filter(|builder| builder.has_own_buildkit());
    let finding = |builder: hubcap_clients::buildkit::Builder| {
        let name = &builder.name;
        let anew =
            format!("docker buildx rm {name}; docker buildx create --name {name} --driver-opt network=host");
        if !builder.config.contains(&address.to_string()) {
            let says = format!("the builder {name} was made without hubcap");
            let setup = if wired { "" } else { "hubcap setup buildkit; " };
            return Finding::new(State::Past, about, says).mend(format!("{setup}{anew}"));
        }
        if address.ip().is_loopback() && !builder.host_network {
            let says = format!("the builder {name} asks {address}, which is its own container there");
            return Finding::new(State::Broken, about, says).mend(anew);
        }
        Finding::new(State::Through, about, format!("the builder {name}"))
    };
    builders.map(finding).collect()
}
