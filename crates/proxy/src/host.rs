//! The names that hubcap is asked by, as a request's Host says them (RFC 9110, section 7.2).
//!
//! A web page of a stranger can have its own name lead to this machine (DNS rebinding). A browser then lets it read what hubcap
//! answers, with hubcap's logins. The Host of such a request is the page's name, so only names are answered that no stranger
//! has.

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderValue;
use http::uri::Authority;

/// The ends of names that nobody can register: `host.docker.internal`, `host.k3d.internal` (ICANN's private use), `localhost`
/// (RFC 6761).
const PRIVATE_USE: [&str; 2] = [".internal", ".localhost"];

/// A name of this machine, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    /// As it is in a certificate.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    /// # Errors
    /// Says how a name is written.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_label = |label: &str| {
            let in_label = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(in_label)
        };
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        if is_name || text.parse::<IpAddr>().is_ok() {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err("it is no host's name or address, as mirror.ci.example".to_owned())
        }
    }
}

/// The names that hubcap is asked by.
#[derive(Debug, Clone)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Names {
    /// Whether a request with this Host may be answered.
    pub(crate) fn have(&self, host: &HeaderValue) -> bool {
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return host.is_empty() };
        let host = authority.host().trim_start_matches('[').trim_end_matches([']', '.']);
        // Of an address, or a name without a dot, no stranger can say where it leads.
        if !host.contains('.') || host.parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = host.to_ascii_lowercase();
        PRIVATE_USE.iter().any(|end| host.ends_with(end)) || self.0.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(host: &str) -> bool {
        Names(vec!["runner.ci.example".into()]).have(&HeaderValue::from_str(host).expect("a value"))
    }

    #[test]
    fn a_name_that_a_stranger_may_have_is_not_ours() {
        for host in [
            "evil.example",
            "evil.example:5443",
            "EVIL.EXAMPLE.",
            "a.runner.ci.example",
            "runner.ci.example.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "internal.evil.example",
            "user@evil.example",
            "evil.example, localhost",
            "/",
        ] {
            assert!(!have(host), "{host}");
        }
    }

    #[test]
    fn addresses_and_names_of_this_machine_and_of_networks_of_containers_are_ours() {
        for host in [
            "127.0.0.1:5443",
            "172.17.0.1",
            "[::1]:5443",
            "localhost:5443",
            "hubcap:5000",
            "host.docker.internal:5443",
            "host.k3d.internal",
            "host.minikube.internal:5443",
            "Runner.CI.example.:5443",
            "",
        ] {
            assert!(have(host), "{host}");
        }
    }

    #[test]
    fn a_name_is_a_hosts_or_an_address() {
        for name in ["mirror.ci.example", "hubcap", "10.0.0.7", "::1", "my_runner"] {
            assert_eq!(name.parse::<HostName>().expect(name).as_str(), name);
        }
        assert_eq!("Mirror.Example".parse::<HostName>().expect("a name").as_str(), "mirror.example");
        for name in ["", "a..b", "*.example", "https://a", "a:5443", "a b", "[::1]"] {
            assert!(name.parse::<HostName>().is_err(), "{name}");
        }
    }
}
