//! Which addresses are on the Internet, which are this machine's or its network's, and to which of them hubcap may
//! connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// To which addresses a connection may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// To any address: the operator has named the host.
    Any,
    /// To addresses of the Internet only: a client has chosen the host's name.
    PublicOnly,
}

/// Whether an address is one of the Internet: not this machine, a private network, a link, a cloud's metadata service,
/// a group, nor reserved (IANA's special-purpose address registries).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| {
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
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let inner = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                v4(Ipv4Addr::new(a, b, c, d))
            };
            match (a, b, c, d, e, f) {
                // NAT64 and 6to4 lead to the IPv4 address in them.
                (0x64, 0xff9b, 0, 0, 0, 0) => inner(g, h),
                (0x2002, high, low, ..) => inner(high, low),
                (0x2001, 0xdb8, ..) => false,
                // Global unicast is all there is.
                _ => a & 0xe000 == 0x2000,
            }
        }
    }
}

/// A link's own addresses, where clouds have their metadata: no registry is there.
pub(crate) fn is_link_local(url: &Url) -> bool {
    match ip(url).map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.is_link_local(),
        Some(IpAddr::V6(ip)) => ip.is_unicast_link_local(),
        None => false,
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        _ => ip(url).is_some_and(|ip| ip.is_loopback()),
    }
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

/// The system's resolver, without private addresses.
pub(crate) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // The proxy that the environment names is where it is.
            let public: Vec<SocketAddr> =
                found.iter().filter(|address| is_public(address.ip())).copied().collect();
            let usable = if is_proxy(name.as_str()) { found } else { public };
            if usable.is_empty() {
                return Err(format!("{} leads to a private address", name.as_str()).into());
            }
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// Whether requests go through a proxy of this name, as curl and Go read it from the environment.
fn is_proxy(name: &str) -> bool {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .filter_map(|text| Url::parse(&text).or_else(|_| Url::parse(&format!("http://{text}"))).ok())
        .any(|url| url.host_str() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internets_addresses_are_public() {
        let public = |text: &str| is_public(text.parse().expect(text));
        for text in
            ["1.1.1.1", "100.63.0.1", "198.17.0.1", "2606:4700::1", "64:ff9b::101:101", "2002:101:101::1"]
        {
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
            "64:ff9b::a00:1",
            "2002:7f00:1::1",
            "::7f00:1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_followed() {
        let resolving = PublicResolver.resolve("localhost".parse().expect("a name"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(runtime.block_on(resolving).is_err());
    }
}
