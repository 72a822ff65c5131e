//! The machine: what slows pulls down and no cache can fix.

use hubcap_clients::{Mirror, is_installed};

use super::finding::{Finding, State};

pub(super) fn look(mirror: Option<&Mirror>) -> Vec<Finding> {
    let mut found = Vec::new();
    if is_installed("dockerd") {
        // dockerd looks for the program by this name.
        found.push(if is_installed("unpigz") {
            Finding::new(State::Fine, "machine", "pigz is there: dockerd unpacks layers with it")
        } else {
            Finding::new(
                State::Note,
                "machine",
                "without pigz dockerd unpacks layers with a slower gzip of its own",
            )
            .remedy("apt-get install pigz")
        });
    }
    // Clients send nothing that is for loopback to a proxy.
    found.extend(mirror.filter(|mirror| !mirror.address.ip().is_loopback()).and_then(proxies));
    found
}

/// Proxies of this environment that clients may send what is for hubcap to.
fn proxies(mirror: &Mirror) -> Option<Finding> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let set: Vec<&str> =
        ["HTTPS_PROXY", "https_proxy"].into_iter().filter(|name| value(name).is_some()).collect();
    let ip = mirror.address.ip().to_string();
    let without = value("NO_PROXY").or_else(|| value("no_proxy")).unwrap_or_default();
    if set.is_empty() || without.split(',').any(|one| one.trim() == ip || one.trim() == "*") {
        return None;
    }
    // Not their values: passwords may be in them.
    let says = format!("{} set here: clients may send what is for {} there", set.join(" and "), mirror.url());
    Some(Finding::new(State::Note, "machine", says).remedy(format!("export NO_PROXY=$NO_PROXY,{ip}")))
}
