//! dockerd: whether it is set up, and which of its pulls use hubcap.

use hubcap_clients::{Coverage, Docker, Dockerd, Proxy, Unpacking};
use hubcap_oci::Registry;

use super::files::Files;
use super::finding::{Finding, State};
use super::subject::Subject;
use crate::args::{DockerFlags, Doctor};
use crate::daemon::{address, verify};

const ABOUT: &str = "dockerd";

pub(super) fn look(subject: &Subject, flags: &Doctor) -> Vec<Finding> {
    let journal = match subject.journal(Docker::NAME) {
        Ok(journal) => journal,
        Err(error) => return vec![Finding::new(State::Broken, ABOUT, error.to_string())],
    };
    let docker = match flags.docker.client().or_host(journal.host()).find() {
        Ok(docker) => docker,
        Err(error) => return vec![Finding::new(State::Note, ABOUT, error.to_string())],
    };
    let files = Files { about: ABOUT, journal: &journal, client: Docker::NAME, flags: typed(&flags.docker) };
    let version = match docker.version() {
        Ok(version) => version.to_owned(),
        Err(why) if journal.is_empty() => return vec![Finding::new(State::Note, ABOUT, why)],
        Err(why) => {
            let says = format!("{why}; its files are set up for when it runs");
            let mut found = vec![Finding::new(State::Note, ABOUT, says)];
            found.extend(files.look(subject));
            return found;
        }
    };
    let mut found = unpacking(&docker, &version);
    found.extend(files.look(subject));
    let mut asks = mirrors(subject, &docker, &files);
    // Nothing goes through a hubcap that does not run; the daemon's finding says so. What goes past it does that all the same.
    asks.retain(|finding| finding.state != State::Through || subject.answers.is_ok());
    found.extend(asks);
    found.extend(proxy(subject, &docker, &files));
    found.extend(proxy_in_between(subject, &docker));
    found
}

/// Its version, its image store, and what inflates the layers.
fn unpacking(docker: &Dockerd, version: &str) -> Vec<Finding> {
    let Some(unpacking) = docker.unpacking() else { return Vec::new() };
    let mut found = vec![Finding::new(State::Fine, ABOUT, format!("{version} {unpacking}"))];
    if unpacking.wants_pigz {
        found.push(Finding::new(State::Note, ABOUT, Unpacking::PIGZ_SAVES).remedy(Unpacking::INSTALL_PIGZ));
    }
    found
}

/// The flags of the dockerd that is looked at, as a user types them.
fn typed(flags: &DockerFlags) -> String {
    let host = flags.docker_host.iter().map(|host| format!("--docker-host {host}"));
    let paths = [("--daemon-json", &flags.daemon_json), ("--certs-dir", &flags.certs_dir)];
    let paths =
        paths.into_iter().filter_map(|(flag, path)| Some(format!("{flag} {}", path.as_ref()?.display())));
    host.chain(paths).collect::<Vec<_>>().join(" ")
}

/// Whether it asks hubcap as a mirror, and for what.
fn mirrors(subject: &Subject, docker: &Dockerd, files: &Files<'_>) -> Vec<Finding> {
    let Some(mirror) = &subject.mirror else { return Vec::new() };
    let has_mirror = docker.mirrors().iter().any(|one| mirror.is_at(one));
    let is_wired = |path: &std::path::Path| path == docker.resolved_daemon_json();
    let wants_mirror = files.journal.paths().any(is_wired);
    let mut registries = files.registries(subject);
    if files.journal.is_empty() && !has_mirror {
        let says = format!("it does not ask hubcap{}", others(docker));
        return vec![Finding::new(State::Past, ABOUT, says).remedy(files.setup(subject, ""))];
    }
    let mut found = Vec::new();
    if wants_mirror && !has_mirror {
        let says = format!("it does not have {} as a mirror{}", mirror.url(), others(docker));
        let is_in_file = files
            .journal
            .states(mirror)
            .is_ok_and(|states| states.iter().any(|(path, state)| is_wired(path) && state.works()));
        let how = if is_in_file { docker.reload_command() } else { files.setup(subject, "") };
        found.push(Finding::new(State::Broken, ABOUT, says).remedy(how));
        if !docker.has_containerd_store() {
            registries.retain(|one| !one.is_docker_hub());
        }
    } else if has_mirror && !registries.iter().any(Registry::is_docker_hub) {
        // By its user's own hand, or by one file of the two.
        registries.insert(0, Registry::docker_hub());
    }
    let by_proxy = !proxied(docker, files).is_empty();
    let coverage = docker.coverage(&registries).unwrap_or_default().into_iter();
    let covers = |one: &Coverage| one.uses_mirror || !by_proxy;
    found.extend(coverage.filter(covers).map(|one| Finding::coverage(ABOUT, one)));
    found
}

/// The registries that it pulls from through hubcap's proxy, if it runs with that.
fn proxied(docker: &Dockerd, files: &Files<'_>) -> Vec<Registry> {
    let ours = Proxy::address(files.journal);
    if ours.is_none() || docker.proxy() != ours.as_deref() {
        return Vec::new();
    }
    Proxy::registries(files.journal)
}

/// Whether hubcap's proxy is in its files, and it runs with that.
fn proxy(subject: &Subject, docker: &Dockerd, files: &Files<'_>) -> Vec<Finding> {
    let Some(wired) = Proxy::address(files.journal) else {
        return forgotten_proxy(subject, docker);
    };
    let names: Vec<String> = Proxy::registries(files.journal).iter().map(ToString::to_string).collect();
    let set_up = files.setup(subject, &format!("--proxy {} --restart", names.join(" ")));
    let Some(address) = subject.status().and(address::proxy(&subject.found.config, subject.status())) else {
        let says = format!(
            "it is set up for hubcap's proxy on {wired}, and hubcap has none: its pulls fail, except Docker Hub's"
        );
        let how = format!(
            "{}; {}, or {}",
            subject.command("down"),
            subject.command(&format!("up --proxy-listen {wired}")),
            subject.command("unset docker --restart")
        );
        return vec![Finding::new(State::Broken, ABOUT, says).remedy(how)];
    };
    let ours = address.to_string();
    if wired != ours {
        let says = format!("it is set up for a proxy on {wired}, and hubcap's is on {ours}");
        return vec![Finding::new(State::Broken, ABOUT, says).remedy(set_up)];
    }
    if docker.proxy() != Some(&ours) {
        let says = format!("it does not have {ours} as its proxy yet: it reads that when it starts");
        let how = format!("{}, or {}", docker.restart_command(), set_up);
        return vec![Finding::new(State::Broken, ABOUT, says).remedy(how)];
    }
    let Some(mirror) = &subject.mirror else { return Vec::new() };
    let each = proxied(docker, files).into_iter().map(|registry| {
        match verify::proxy(address, &mirror.ca, &registry) {
            Ok(()) => {
                let says = format!(
                    "docker pull, run, compose and build with the images of {registry}, by its proxy {ours}"
                );
                Finding::new(State::Through, ABOUT, says)
            }
            Err(why) => Finding::new(State::Broken, ABOUT, why.to_string()),
        }
    });
    let mut found: Vec<Finding> = each.collect();
    found.push(Finding::new(
        State::Past,
        ABOUT,
        format!("other registries: its proxy {ours} passes them on, and stores nothing of them"),
    ));
    found
}

/// A proxy of hubcap's that is no longer in its files, and that it goes on to use until it is restarted.
fn forgotten_proxy(subject: &Subject, docker: &Dockerd) -> Vec<Finding> {
    let ours = subject.status().and(address::proxy(&subject.found.config, subject.status()));
    match ours.map(|ours| ours.to_string()) {
        Some(ours) if docker.proxy() == Some(&ours) => {
            let says =
                format!("it uses hubcap's proxy {ours}, which is not in its files, until it is restarted");
            vec![Finding::new(State::Note, ABOUT, says).remedy(docker.restart_command())]
        }
        _ => Vec::new(),
    }
}

/// Another proxy between it and hubcap.
fn proxy_in_between(subject: &Subject, docker: &Dockerd) -> Option<Finding> {
    let mirror = subject.mirror.as_ref()?;
    let proxy = docker.proxy_before(mirror.address.ip())?;
    let says = format!("it sends what is for {} to the proxy {proxy}", mirror.url());
    let how = format!(
        "add {} to no-proxy in {}, then {}",
        mirror.address.ip(),
        docker.daemon_json().display(),
        docker.restart_command()
    );
    Some(Finding::new(State::Broken, ABOUT, says).remedy(how))
}

fn others(docker: &Dockerd) -> String {
    match docker.mirrors() {
        [] => String::new(),
        mirrors => format!("; its mirrors are {}", mirrors.join(", ")),
    }
}
