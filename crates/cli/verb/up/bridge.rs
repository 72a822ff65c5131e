//! dockerd's bridge, on which containers reach this machine: BuildKit's builders are in containers.

use std::ffi::OsString;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};

use hubcap_clients::{Client, Mirror};

use crate::args::Up;
use crate::daemon::address;
use crate::daemon::find::Found;

/// dockerd's network for containers that name none.
const NETWORK: &str = "bridge";

/// The flag by which a daemon that is about to start listens on the bridge, if a client needs that and nobody has said
/// where. There is none where dockerd does not run, has no bridge, or has it elsewhere.
pub(super) fn flag(found: &Found, flags: &Up) -> Option<OsString> {
    let is_needed = found.config.bridges.is_empty() && needed(flags);
    let address = is_needed.then(|| free_address(found, flags)).flatten()?;
    Some(format!("--bridge-listen={address}").into())
}

/// Where clients in containers reach hubcap; of a daemon that does not run, where it would listen.
pub(super) fn mirror(found: &Found, flags: &Up, mirror: &Mirror) -> Option<Mirror> {
    if !needed(flags) {
        return None;
    }
    let would_listen = || {
        let address = found.status.is_none().then(|| free_address(found, flags)).flatten()?;
        Some(Mirror::new(SocketAddr::V4(address), mirror.ca.clone()))
    };
    address::bridge(found, None, &mirror.ca).or_else(would_listen)
}

fn needed(flags: &Up) -> bool {
    flags.clients().iter().any(|client| client.is_in_containers())
}

/// hubcap's own port on the bridge, or any one where that is taken.
fn free_address(found: &Found, flags: &Up) -> Option<SocketAddrV4> {
    let gateway = flags.docker.client().find().ok()?.gateway(NETWORK)?;
    let addresses = [found.config.listen.port(), 0].map(|port| SocketAddrV4::new(gateway, port));
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok())
}

/// Why a client in containers is not configured.
pub(super) fn missing(client: &dyn Client) -> String {
    format!(
        "not through hubcap: {} in containers, since hubcap does not listen on a bridge of dockerd's; --bridge-listen \
         ADDR:PORT has it listen there when it starts",
        client.title()
    )
}
