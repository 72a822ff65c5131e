//! dockerd's networks: where its containers reach this machine.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::api;
use super::find::Dockerd;

/// A network, as far as it is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Network {
    ipam: Ipam,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    config: Option<Vec<Subnet>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Subnet {
    gateway: String,
}

impl Dockerd {
    /// The address of this machine in a network of dockerd's, as `bridge`. `None` where there is no such network, or the
    /// address is not this machine's: a rootless dockerd has networks within a network of its own.
    pub fn gateway(&self, network: &str) -> Option<Ipv4Addr> {
        if self.running.as_ref().ok()?.is_rootless() {
            return None;
        }
        let answer = api::ask(&self.socket, "GET", &format!("/networks/{network}")).ok()?;
        gateway(&answer.body)
    }
}

/// The first IPv4 gateway. It may be written with the length of its network.
fn gateway(network: &str) -> Option<Ipv4Addr> {
    let network: Network = serde_json::from_str(network).ok()?;
    let subnets = network.ipam.config.unwrap_or_default();
    subnets.iter().find_map(|subnet| subnet.gateway.split('/').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_networks_gateway_is_its_first_of_ipv4() {
        for (config, expected) in [
            (r#"[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]"#, Some([172, 17, 0, 1])),
            (
                r#"[{"Subnet":"fc00::/64","Gateway":"fc00::1"},{"Gateway":"172.18.0.1/16"}]"#,
                Some([172, 18, 0, 1]),
            ),
            (r#"[{"Subnet":"172.17.0.0/16"}]"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let text = format!(r#"{{"Name":"bridge","IPAM":{{"Driver":"default","Config":{config}}}}}"#);
            assert_eq!(gateway(&text), expected.map(Ipv4Addr::from), "{config}");
        }
        assert_eq!(gateway(r#"{"message":"network kind not found"}"#), None);
    }
}
