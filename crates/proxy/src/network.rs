//! The networks that this machine is in, by the kernel's routes (`/proc/net/route`; proc_net(5)).

use std::net::{IpAddr, Ipv4Addr};

/// Where the kernel tells its IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// A network that a device of this machine is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: u32,
    mask: u32,
}

impl Network {
    const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.address
    }
}

/// Whether a client at `peer` is in the network of the address `local` of this machine.
pub(crate) fn are_neighbours(local: IpAddr, peer: IpAddr) -> bool {
    let (IpAddr::V4(local), IpAddr::V4(peer)) = (local, peer) else { return false };
    network_of(&routes(), local).is_some_and(|network| network.contains(peer))
}

/// Whether a network of this machine has this address.
pub(crate) fn is_here(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if network_of(&routes(), address).is_some())
}

fn routes() -> String {
    std::fs::read_to_string(ROUTES).unwrap_or_default()
}

/// The smallest network of the routes that has the address.
fn network_of(routes: &str, address: Ipv4Addr) -> Option<Network> {
    let networks = routes.lines().skip(1).filter_map(connected);
    networks.filter(|network| network.contains(address)).max_by_key(|network| network.mask)
}

/// The network of a route, if a device of this machine is in it: a route by a gateway leads to others, and one without a
/// mask leads everywhere. The numbers are in the machine's own byte order.
fn connected(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| {
        let number = u32::from_str_radix(fields.get(at)?, 16).ok()?;
        Some(u32::from_be_bytes(number.to_ne_bytes()))
    };
    let (address, gateway, mask) = (number(1)?, number(2)?, number(7)?);
    (gateway == 0 && mask != 0).then_some(Network { address, mask })
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";

    fn neighbours(local: [u8; 4], peer: [u8; 4]) -> bool {
        network_of(ROUTES, local.into()).is_some_and(|network| network.contains(peer.into()))
    }

    #[test]
    fn a_bridges_neighbours_are_those_in_its_network() {
        assert!(neighbours([172, 17, 0, 1], [172, 17, 0, 2]));
        assert!(neighbours([172, 17, 0, 1], [172, 17, 255, 254]));
        assert!(!neighbours([172, 17, 0, 1], [172, 18, 0, 2]), "another bridge's");
        assert!(!neighbours([172, 17, 0, 1], [192, 0, 2, 7]), "the machine's own network");
        assert!(!neighbours([172, 17, 0, 1], [127, 0, 0, 1]));
    }

    #[test]
    fn an_address_of_no_network_here_has_no_neighbours() {
        assert!(!neighbours([172, 18, 0, 1], [172, 18, 0, 2]));
        assert!(!neighbours([10, 0, 0, 1], [10, 0, 0, 2]), "behind a gateway");
        assert!(network_of("", [172, 17, 0, 1].into()).is_none());
    }
}
