//! Whether what a user says agrees with the daemon that runs. The daemon's settings count; a flag, variable or file that
//! says otherwise is an error, since nothing would come of it.

use std::net::SocketAddrV4;

use anyhow::bail;
use hubcap_admin::Daemon;
use hubcap_clients::reachable;

use crate::settings::Config;

/// # Errors
/// Names each setting that was given and that the daemon does not have.
pub(crate) fn check(config: &Config, daemon: &Daemon) -> anyhow::Result<()> {
    let otherwise = contradictions(config, daemon);
    if otherwise.is_empty() {
        return Ok(());
    }
    bail!(
        "the daemon {} with the state {} runs with other settings than are given here: {}. Leave them out, or stop it \
         (hubcap down) and start it with them",
        daemon.pid,
        config.state.display(),
        otherwise.join("; ")
    )
}

/// What the daemon does otherwise, in words. Settings that nobody gave contradict nothing.
pub(crate) fn contradictions(config: &Config, daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    let given = &config.given;
    let listeners = [
        ("--listen", "listens on", Some(config.listen).filter(|_| given.listen), daemon.listen),
        ("--http-listen", "has plain HTTP on", config.http_listen, daemon.http_listen),
        (
            "--proxy-listen",
            "has its proxy on",
            config.proxy.as_ref().map(|proxy| proxy.address),
            daemon.proxy_listen,
        ),
    ];
    for (flag, what, wanted, has) in listeners {
        // Port 0 is any port.
        let Some(wanted) = wanted else { continue };
        let is_there = has.is_some_and(|has| match wanted.port() {
            0 => wanted.ip() == has.ip(),
            _ => wanted == has || reachable(wanted) == reachable(has),
        });
        if !is_there {
            let has = has.map_or_else(|| "no address".to_owned(), |has| has.to_string());
            found.push(format!("it {what} {has}, not {wanted} ({flag})"));
        }
    }
    for wanted in &config.bridges {
        let is_there = |has: &SocketAddrV4| has == wanted || (wanted.port() == 0 && has.ip() == wanted.ip());
        if !daemon.bridges.iter().any(is_there) {
            found.push(format!("it does not listen on the bridge's {wanted} (--bridge-listen)"));
        }
    }
    if given.store && config.store != daemon.store {
        let (has, wanted) = (daemon.store.display(), config.store.display());
        found.push(format!("it has the store {has}, not {wanted} (--store)"));
    }
    if config.offline && !daemon.offline {
        found.push("it asks the registries (--offline)".to_owned());
    }
    for registry in &given.registries {
        let upstream = config.upstreams.iter().find(|upstream| upstream.registry == *registry);
        let wanted: Vec<&str> = upstream
            .into_iter()
            .flat_map(|upstream| &upstream.origins)
            .map(|origin| origin.url.as_str())
            .collect();
        match daemon.registries.get(registry.as_str()) {
            Some(has) if *has == wanted => {}
            Some(has) => found.push(format!(
                "it has {registry} at {}, not at {} (--upstream)",
                has.join(", "),
                wanted.join(", ")
            )),
            None => found.push(format!("it is not configured for {registry} (--upstream)")),
        }
    }
    for pattern in &given.patterns {
        if !daemon.allowed.contains(&pattern.to_string()) {
            found.push(format!("it is not configured for {pattern} (--upstream)"));
        }
    }
    found
}
