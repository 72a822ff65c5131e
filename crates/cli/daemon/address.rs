//! Where clients reach hubcap: where the running daemon says, else where a user says, else where the last daemon was.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, bail};
use hubcap_admin::Status;
use hubcap_clients::{Authority, Mirror, reachable};
use hubcap_oci::Registry;

use super::find::Found;
use super::run::Run;
use super::verify::{self, Unverified};
use crate::settings::Config;

/// hubcap's HTTPS address and its CA's certificate, which need not exist yet.
///
/// # Errors
/// When no daemon runs or ran, and the settings leave the port to the system.
pub(crate) fn mirror(config: &Config, status: Option<&Status>) -> anyhow::Result<Mirror> {
    let ca = status
        .map_or_else(|| hubcap_proxy::certificate_path(&config.state), |status| status.daemon.ca.clone());
    Ok(Mirror::new(listen(config, status)?, Authority::read(ca)))
}

/// As [`mirror`], which hubcap answers on with a certificate of its CA: so clients may be told of it. With `unchecked` also
/// one on which nothing listens yet; then its CA is made, since a client whose files name a missing certificate fails.
///
/// # Errors
/// When nothing answers there, or not hubcap, or one with another CA.
pub(crate) fn verified_mirror(found: &Found, unchecked: bool) -> anyhow::Result<Mirror> {
    verified(found, mirror(&found.config, found.status.as_ref())?, unchecked)
}

/// hubcap's address on this bridge of dockerd's; the first one of any bridge where none is named. `None` where hubcap does not
/// listen there. It is as yet unchecked.
pub(crate) fn bridge(found: &Found, gateway: Option<Ipv4Addr>, ca: &Authority) -> Option<Mirror> {
    let bridges = found.status.as_ref().map_or(&found.config.bridges, |status| &status.daemon.bridges);
    let is_meant = |address: &&SocketAddrV4| gateway.is_none_or(|gateway| address.ip() == &gateway);
    let address = bridges.iter().find(is_meant).filter(|address| address.port() != 0)?;
    Some(Mirror::new(SocketAddr::V4(*address), ca.clone()))
}

/// A mirror on which hubcap answers with a certificate of its CA; with `unchecked`, on which nothing may listen yet.
///
/// # Errors
/// As [`verified_mirror`].
pub(crate) fn verified(found: &Found, mut mirror: Mirror, unchecked: bool) -> anyhow::Result<Mirror> {
    let Found { config, status, of_others } = found;
    if status.is_none() && unchecked {
        hubcap_proxy::prepare_authority(&config.state, mirror.address.ip(), &config.names)
            .context("the local CA cannot be made, and clients have to be told of it")?;
        mirror.ca = Authority::read(mirror.ca.path);
    }
    if status.is_none() && mirror.ca.pem()?.is_none() {
        bail!("{}", not_running(found, &mirror));
    }
    match verify::mirror(&mirror) {
        Ok(()) => Ok(mirror),
        Err(Unverified::Nothing(_)) if unchecked => Ok(mirror),
        Err(Unverified::Nothing(_)) => bail!("{}", not_running(found, &mirror)),
        Err(error) if of_others.is_empty() => Err(error.into()),
        Err(error) => bail!("{error}{}", others(found)),
    }
}

fn not_running(found: &Found, mirror: &Mirror) -> String {
    let Found { config, .. } = found;
    let mut serve = "hubcap serve".to_owned();
    if config.given.listen {
        serve += &format!(" --listen {}", config.listen);
    }
    if config.given.state {
        serve += &format!(" --state {}", config.state.display());
    }
    format!(
        "hubcap does not run at {}: start it with `{serve}`. To write the files before it runs, for an image or a unit that \
         starts it later, use --unchecked{}",
        mirror.address,
        others(found)
    )
}

/// Daemons that this user cannot ask, for an error.
fn others(Found { of_others, .. }: &Found) -> String {
    let states: Vec<String> = of_others.iter().map(|state| state.display().to_string()).collect();
    if states.is_empty() {
        return String::new();
    }
    format!(
        ". A hubcap with the state {} is another user's: use it as that user, or with sudo",
        states.join(" and ")
    )
}

fn listen(config: &Config, status: Option<&Status>) -> anyhow::Result<SocketAddr> {
    if let Some(Status { daemon, .. }) = status {
        return daemon.listen.with_context(|| format!("the daemon {} does not listen for HTTPS", daemon.pid));
    }
    let configured = |is_given: bool| {
        Some(config.listen).filter(|listen| config.given.listen == is_given && listen.port() != 0)
    };
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.listen);
    // Where it was is more likely than the default, which nobody has said.
    configured(true)
        .or_else(last)
        .or(configured(false))
        .context("which port hubcap listens on is not known: start it, or give --listen ADDR:PORT")
}

/// The address of hubcap's HTTP proxy: the running daemon's, else the configured one. `None` where it is off.
pub(crate) fn proxy(config: &Config, status: Option<&Status>) -> Option<SocketAddr> {
    if let Some(status) = status {
        return status.daemon.proxy_listen.map(reachable);
    }
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.proxy_listen);
    let configured = config.proxy.as_ref().map(|proxy| proxy.address).filter(|address| address.port() != 0);
    configured.or_else(last).map(reachable)
}

/// The registries that the running daemon is configured for and was asked for; without one, those of the settings. Docker
/// Hub is among them.
pub(crate) fn registries(config: &Config, status: Option<&Status>) -> Vec<Registry> {
    let found: BTreeSet<Registry> = match status {
        Some(Status { daemon, meter, .. }) => {
            let names = daemon.registries.keys().chain(meter.registries.keys());
            names.filter_map(|name| name.parse().ok()).collect()
        }
        None => config.upstreams.iter().map(|upstream| upstream.registry.clone()).collect(),
    };
    found.into_iter().collect()
}
