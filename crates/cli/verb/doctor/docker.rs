//! dockerd: whether it is set up, and which of its pulls use hubcap.

use hubcap_admin::Status;
use hubcap_clients::{Docker, Dockerd, Journal, Proxy};
use hubcap_oci::Registry;

use super::finding::{Finding, State};
use crate::args::Doctor;
use crate::daemon::address;
use crate::settings::Config;

const ABOUT: &str = "dockerd";
const SETUP: &str = "hubcap setup docker";

pub(super) fn look(config: &Config, flags: &Doctor, status: Option<&Status>) -> Vec<Finding> {
    let journal = match Journal::open(&config.state, Docker::NAME) {
        Ok(journal) => journal,
        Err(error) => return vec![Finding::new(State::Broken, ABOUT, error.to_string())],
    };
    let docker = match flags.docker.client().or_host(journal.host()).find() {
        Ok(docker) => docker,
        Err(error) => return vec![Finding::new(State::Note, ABOUT, error.to_string())],
    };
    let version = match docker.version() {
        Ok(version) => version.to_owned(),
        Err(why) if journal.is_empty() => return vec![Finding::new(State::Note, ABOUT, why)],
        Err(why) => {
            return vec![Finding::new(
                State::Note,
                ABOUT,
                format!("{why}; its files are set up for when it runs"),
            )];
        }
    };
    let store =
        if docker.has_containerd_store() { "containerd's image store" } else { "its own image store" };
    let mut found = vec![Finding::new(State::Fine, ABOUT, format!("{version}, with {store}"))];
    if journal.is_empty() {
        let says = format!("it does not ask hubcap{}", others(&docker));
        found.push(Finding::new(State::Past, ABOUT, says).remedy(SETUP));
        return found;
    }
    found.extend(super::clients::drift(&journal, ABOUT, SETUP));
    let Ok(mirror) = address::mirror(config, status) else { return found };
    let reads = docker.mirrors().iter().any(|one| mirror.is_at(one));
    let configured: Vec<Registry> = address::registries(config, status)
        .into_iter()
        .filter(|one| docker.hosts_toml(one).exists())
        .collect();
    if !reads && !docker.has_containerd_store() {
        let says = format!("it does not have {} as a mirror{}", mirror.url(), others(&docker));
        found.push(
            Finding::new(State::Broken, ABOUT, says).remedy(format!("{SETUP}, or systemctl reload docker")),
        );
    } else {
        found.extend(
            docker
                .coverage(&configured)
                .unwrap_or_default()
                .into_iter()
                .map(|one| Finding::coverage(ABOUT, one)),
        );
    }
    if Proxy::is_set(&journal) {
        found.push(through_proxy(config, status, &docker));
    }
    if let Some(proxy) = docker.proxy_before(mirror.address.ip()) {
        let says = format!("it sends what is for {} to the proxy {proxy}", mirror.url());
        let how = format!(
            "add {} to no-proxy in {}, and restart dockerd",
            mirror.address.ip(),
            docker.daemon_json().display()
        );
        found.push(Finding::new(State::Broken, ABOUT, says).remedy(how));
    }
    found
}

/// Whether dockerd was restarted since hubcap's proxy is in its files.
fn through_proxy(config: &Config, status: Option<&Status>, docker: &Dockerd) -> Finding {
    let address = address::proxy(config, status).map(|address| address.to_string());
    match (address, docker.proxy()) {
        (Some(ours), Some(its)) if its.trim_end_matches('/') == ours => Finding::new(
            State::Through,
            ABOUT,
            format!("by its proxy {ours}: the registries with a certs.d/REGISTRY/ca.crt"),
        ),
        (Some(ours), _) => {
            Finding::new(State::Broken, ABOUT, format!("it does not have {ours} as its proxy yet"))
                .remedy("systemctl daemon-reload; systemctl restart docker")
        }
        (None, _) => Finding::new(State::Broken, ABOUT, "its files name a proxy, and hubcap has none")
            .remedy("hubcap serve --proxy-listen ADDR:PORT, or hubcap unset docker"),
    }
}

fn others(docker: &Dockerd) -> String {
    match docker.mirrors() {
        [] => String::new(),
        mirrors => format!("; its mirrors are {}", mirrors.join(", ")),
    }
}
