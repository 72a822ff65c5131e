//! Which addresses are on the Internet, which are this machine's or its network's, and to which of them hubcap may
//! connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use crate::look_up::addresses;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// To which addresses a connection may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// To any address but a link's own: the operator has named the host, or who answered for it.
    Any,
    /// To any address but a link's own and this machine's: another machine has named the host.
    Elsewhere,
    /// To addresses of the Internet only: a client has chosen the host's name.
    PublicOnly,
}

impl AddressPolicy {
    /// Whether a name may lead to this address.
    pub(crate) fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => !is_of_link(ip),
            Self::Elsewhere => !is_of_link(ip) && !is_of_this_machine(ip),
            Self::PublicOnly => is_public(ip),
        }
    }

    /// What a name leads to that may lead nowhere.
    pub(crate) const fn refused(self) -> &'static str {
        match self {
            Self::Any => "a link's own address, where clouds have their secrets",
            Self::Elsewhere => "this machine, or a link's own address",
            Self::PublicOnly => "a private address",
        }
    }
}

/// Whether an address is one of the Internet: not this machine, a private network, a link, a cloud's metadata service,
/// a group, nor reserved (IANA's special-purpose address registries).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match destination(ip) {
        ip if is_of_cloud(ip) => false,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_multicast()
                || matches!(
                    (a, b, c),
                    (0 | 240..=255, _, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _)
                ))
        }
        // Global unicast is all there is, but for what the protocols themselves have, Teredo among it (2001::/23).
        IpAddr::V6(ip) => match ip.segments() {
            [0x2001, 0xdb8 | 0..=0x1ff, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000 && inner(ip).into_iter().all(|ip| is_public(ip.into())),
        },
    }
}

/// Where packets to an address go: mapped addresses, NAT64 and 6to4 lead to the IPv4 address in them.
fn destination(ip: IpAddr) -> IpAddr {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.to_canonical() {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
            [0x2002, high, low, ..] => inner(high, low),
            _ => IpAddr::V6(ip),
        },
        ip => ip,
    }
}

/// A link's own addresses, where clouds have their metadata: no registry is there.
pub(crate) fn is_link_local(url: &Url) -> bool {
    ip(url).is_some_and(is_of_link)
}

fn is_of_link(ip: IpAddr) -> bool {
    match destination(ip) {
        ip if is_of_cloud(ip) => true,
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || inner(ip).iter().any(Ipv4Addr::is_link_local),
    }
}

/// The IPv4 addresses that an IPv6 address may have in it.
fn inner(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = ip.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    const LAST: [usize; 4] = [12, 13, 14, 15];
    match ip.segments() {
        // NAT64 of a network's own (RFC 8215), whose prefix has a length of the network's choice (RFC 6052, section 2.2).
        [0x64, 0xff9b, 1, ..] => vec![at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), at(LAST)],
        // Addresses that are compatible with IPv4, translated ones, and ISATAP's (RFC 5214, section 6.1).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => {
            vec![at(LAST)]
        }
        // Teredo's server, and its client turned round (RFC 4380, section 4).
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from_bits(!at(LAST).to_bits())],
        _ => Vec::new(),
    }
}

/// Where clouds have metadata and credentials of a machine at an address that is not a link's own.
fn is_of_cloud(ip: IpAddr) -> bool {
    match ip {
        // Azure's, Alibaba's, and Oracle's.
        IpAddr::V4(ip) => [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]].contains(&ip.octets()),
        IpAddr::V6(ip) => matches!(
            ip.segments(),
            // EC2's, EKS's; Google's; Oracle's; Scaleway's.
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23]
                | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
                | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
                | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
        ),
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        _ => ip(url).is_some_and(is_of_this_machine),
    }
}

/// Whether packets to an address stay here. The kernel takes the address of nothing for this machine's.
pub(crate) fn is_of_this_machine(ip: IpAddr) -> bool {
    let ip = destination(ip);
    ip.is_loopback() || ip.is_unspecified()
}

/// No address of the Internet, as far as the URL itself shows it.
pub(crate) fn is_private(url: &Url) -> bool {
    ip(url).map_or_else(|| is_loopback(url), |ip| !is_public(ip))
}

fn ip(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

/// The system's resolver, without the addresses that are not allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver(pub(crate) AddressPolicy);

impl Resolver {
    /// The addresses of a name that may be connected to, with `port`.
    ///
    /// # Errors
    /// The system's; another one for a name that has only addresses which are not allowed.
    pub(crate) async fn look_up(self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let mut found = addresses(name, port).await?;
        found.retain(|address| self.0.allows(address.ip()));
        if found.is_empty() {
            let why = format!("{name} leads to {}", self.0.refused());
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why));
        }
        Ok(found)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = *self;
        Box::pin(async move {
            // The proxy that the environment names is where it is.
            let found = match is_proxy(name.as_str()) {
                true => addresses(name.as_str(), 0).await?,
                false => resolver.look_up(name.as_str(), 0).await?,
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The proxies through which requests go, as curl and Go read them from the environment, which does not change.
static PROXIES: LazyLock<Vec<Url>> = LazyLock::new(|| {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .filter_map(|text| Url::parse(&text).or_else(|_| Url::parse(&format!("http://{text}"))).ok())
        .collect()
});

/// Whether requests go through a proxy of this name.
fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|url| url.host_str() == Some(name))
}

/// Whether an answer from this address came through a proxy, as far as the proxy's URL shows it: of one with a name, the port.
pub(crate) fn is_of_proxy(address: SocketAddr) -> bool {
    const SOCKS: u16 = 1080;
    PROXIES.iter().any(|url| {
        let is_there = ip(url).is_none_or(|ip| ip == address.ip());
        is_there && url.port_or_known_default().unwrap_or(SOCKS) == address.port()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_name_leads_to_a_links_own_address() {
        for address in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "64:ff9b:1::a9fe:a9fe",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:0:a9:fea9:fe00::",
            "fd00:1::5efe:a9fe:a9fe",
            "2001:0:a9fe:a9fe::1",
            "2001:0:1::5601:5601",
        ] {
            let refused = Resolver(AddressPolicy::Any).look_up(address, 80).await;
            assert!(
                refused.is_err_and(|error| error.to_string().contains("a link's own address")),
                "{address}"
            );
        }
        for address in ["10.0.0.7", "::1", "64:ff9b:1::a00:1", "fd00:ec2::253"] {
            assert!(Resolver(AddressPolicy::Any).look_up(address, 80).await.is_ok(), "{address}");
        }
        assert!(Resolver(AddressPolicy::PublicOnly).look_up("10.0.0.7", 80).await.is_err());
        for address in ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::ffff:127.0.0.1", "169.254.169.254"] {
            assert!(Resolver(AddressPolicy::Elsewhere).look_up(address, 80).await.is_err(), "{address}");
        }
        assert!(Resolver(AddressPolicy::Elsewhere).look_up("10.0.0.7", 80).await.is_ok());
    }

    #[test]
    fn only_the_internets_addresses_are_public() {
        let public = |text: &str| is_public(text.parse().expect(text));
        for text in [
            "1.1.1.1",
            "100.63.0.1",
            "198.17.0.1",
            "2606:4700::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2606:4700::5efe:101:101",
        ] {
            assert!(public(text), "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "168.63.129.16",
            "64:ff9b::a00:1",
            "2002:7f00:1::1",
            "::7f00:1",
            "2606:4700::5efe:a00:1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_followed() {
        let resolving = Resolver(AddressPolicy::PublicOnly).resolve("localhost".parse().expect("a name"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(runtime.block_on(resolving).is_err());
    }
}
