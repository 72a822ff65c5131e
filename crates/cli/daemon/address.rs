//! Where clients reach hubcap: where the running daemon says, else where the settings say, else where the last daemon was.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Context as _;
use hubcap_admin::Status;
use hubcap_clients::{Mirror, reachable};
use hubcap_oci::Registry;

use super::run::Run;
use crate::settings::Config;

/// hubcap's HTTPS address and its CA's certificate, which need not exist yet.
///
/// # Errors
/// When no daemon runs or ran, and the settings leave the port to the system.
pub(crate) fn mirror(config: &Config, status: Option<&Status>) -> anyhow::Result<Mirror> {
    Ok(Mirror::new(listen(config, status)?, hubcap_proxy::certificate_path(&config.state)))
}

/// As [`mirror`], and makes the CA where there is none: a client whose files name a missing certificate fails.
pub(crate) fn mirror_with_ca(config: &Config, status: Option<&Status>) -> anyhow::Result<Mirror> {
    hubcap_proxy::prepare_authority(&config.state, listen(config, status)?.ip())
        .context("the local CA cannot be made, and clients have to be told of it")?;
    mirror(config, status)
}

fn listen(config: &Config, status: Option<&Status>) -> anyhow::Result<SocketAddr> {
    let running = status.and_then(|status| status.daemon.listen);
    let configured = Some(config.listen).filter(|listen| listen.port() != 0);
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.listen);
    running
        .or(configured)
        .or_else(last)
        .context("which port hubcap listens on is not known: start it, or give --listen ADDR:PORT")
}

/// The address of hubcap's HTTP proxy; `None` where it is off.
pub(crate) fn proxy(config: &Config) -> Option<SocketAddr> {
    let last = || Run::read(&config.state).ok().flatten().and_then(|run| run.proxy_listen);
    let configured = config.proxy.as_ref().map(|proxy| proxy.address).filter(|address| address.port() != 0);
    configured.or_else(last).map(reachable)
}

/// The registries that are configured, Docker Hub among them, and those that the running daemon was asked for.
pub(crate) fn registries(config: &Config, status: Option<&Status>) -> Vec<Registry> {
    let configured = config.upstreams.iter().map(|upstream| upstream.registry.clone());
    let asked = status.into_iter().flat_map(|status| status.meter.registries.keys());
    let found: BTreeSet<Registry> = configured.chain(asked.filter_map(|name| name.parse().ok())).collect();
    found.into_iter().collect()
}
