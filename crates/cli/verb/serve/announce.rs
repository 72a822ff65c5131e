//! What the daemon prints when it has started.

use std::io::Write as _;

use hubcap_proxy::Bound;

use crate::settings::Config;

/// Prints where the daemon listens, where its files are, and what a user writes into which file of dockerd.
pub(super) fn announce(bound: &Bound, config: &Config) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "hubcap {}", env!("CARGO_PKG_VERSION"))?;
    for (scheme, address) in [("https", bound.https()), ("http", bound.http())] {
        if let Some(address) = address {
            writeln!(out, "listening on {scheme}://{address}")?;
        }
    }
    for address in bound.bridges() {
        writeln!(out, "bridge on https://{address}")?;
    }
    if let Some(address) = bound.connect() {
        writeln!(out, "proxy on http://{address}")?;
    }
    writeln!(out, "store {}", config.store.display())?;
    writeln!(out, "ca certificate {}", bound.ca_certificate().display())?;
    let upstreams = config.upstreams.iter().map(|one| {
        let urls: Vec<&str> = one.origins.iter().map(|origin| origin.url.as_str()).collect();
        format!("{}={}", one.registry, urls.join(","))
    });
    writeln!(out, "upstreams {}{}", upstreams.collect::<Vec<_>>().join(" "), offline(config))?;
    if let Some(address) = bound.https() {
        // Everywhere is where it listens, and nowhere that a client can go to.
        let mirror = format!("https://{}", hubcap_clients::reachable(address));
        let ca = bound.ca_certificate().display();
        write!(
            out,
            "\n/etc/docker/daemon.json, then `systemctl reload docker`:\n\n    \
             {{ \"registry-mirrors\": [\"{mirror}\"] }}\n\n\
             /etc/docker/certs.d/docker.io/hosts.toml, read at each pull:\n\n    \
             [host.\"{mirror}\"]\n      capabilities = [\"pull\", \"resolve\"]\n      ca = \"{ca}\"\n      \
             dial_timeout = \"1s\"\n\n\
             Write both: the first is for dockerd's own pulls; with the second, `docker build` and dockerd 29 use the\n\
             mirror too, and dockerd 28 and later go on checking Docker Hub's certificate. `hubcap setup docker` writes both,\n\
             and for dockerd 29.1 and later \"referrers\" among the capabilities, which earlier ones do not know.\n"
        )?;
    }
    out.flush()?;
    Ok(())
}

const fn offline(config: &Config) -> &'static str {
    if config.offline { " (offline: none is asked)" } else { "" }
}
