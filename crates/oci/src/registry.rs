//! Registries: their names, their form in a path, and patterns of them.

use std::fmt;
use std::str::FromStr;

use wildmatch::WildMatch;

use crate::ParseError;

/// A registry as image names and `?ns=` write it: `docker.io`, `ghcr.io`, `localhost:5000`.
///
/// One registry has one name: it is in lowercase, without HTTPS's own port, and Docker Hub is `docker.io`, whichever of
/// its hosts was named.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(Box<str>);

impl Registry {
    /// Docker Hub's name in image references.
    pub const DOCKER_HUB: &'static str = "docker.io";
    /// Where Docker Hub's API is.
    pub const DOCKER_HUB_HOST: &'static str = "registry-1.docker.io";

    /// Docker Hub.
    pub fn docker_hub() -> Self {
        Self(Self::DOCKER_HUB.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is Docker Hub, where a name of one part means `library/<name>`.
    pub fn is_docker_hub(&self) -> bool {
        &*self.0 == Self::DOCKER_HUB
    }

    /// The host's name or address, and the port where it is not HTTPS's own.
    pub fn host_and_port(&self) -> (&str, Option<u16>) {
        match self.0.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (&self.0, None),
        }
    }

    /// The host of its API, as clients connect to it.
    pub fn api_host(&self) -> &str {
        if self.is_docker_hub() { Self::DOCKER_HUB_HOST } else { self.host_and_port().0 }
    }

    /// Its form as the first part of a repository's path: `ghcr.io`; with a port, since no repository may have a ':',
    /// `registry.example_5000`. No host has a '_', so it can be read back in one way only.
    pub fn path_segment(&self) -> String {
        self.0.replace(':', "_")
    }

    /// Reads [`path_segment`](Self::path_segment). `None` for what is no registry's name there, as Docker's own
    /// grammar of image names has it: without a '.' or a port, only `localhost` is a host.
    pub fn from_path_segment(text: &str) -> Option<Self> {
        let named = match text.rsplit_once('_') {
            Some((host, port)) => format!("{host}:{port}"),
            None if text.contains('.') || text == "localhost" => text.to_owned(),
            None => return None,
        };
        named.parse().ok()
    }
}

impl FromStr for Registry {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        check(text, |_| false).map_err(|why| ParseError::new("registry", text, why))?;
        let text = text.to_ascii_lowercase();
        // Without a '.' the port is what tells a registry from a user of Docker Hub: `host:443/image`.
        let usual = text.strip_suffix(":443").filter(|host| host.contains('.') || *host == "localhost");
        let text = usual.unwrap_or(&text);
        Ok(match text {
            "index.docker.io" | Self::DOCKER_HUB_HOST => Self::docker_hub(),
            text => Self(text.into()),
        })
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern of registries: `*-docker.pkg.dev`, `*.dkr.ecr.*.amazonaws.com`, `*`. `*` stands for any characters except
/// '.', or, alone, for every registry.
///
/// Without a '*' it is the one registry of that name. With one no address is matched, whatever its notation, and no port
/// but the pattern's own: what a client may choose freely must not be where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryPattern {
    text: Box<str>,
    port: Option<u16>,
}

impl RegistryPattern {
    /// Whether a registry is meant.
    pub fn matches(&self, registry: &Registry) -> bool {
        if !self.text.contains('*') {
            return self.text.parse::<Registry>().as_ref() == Ok(registry);
        }
        let (host, port) = registry.host_and_port();
        if port != self.port || is_address(host) {
            return false;
        }
        let host_pattern = self.host();
        if host_pattern == "*" {
            return host.contains('.');
        }
        // Label by label, so that a '*' is never more than one.
        let (wanted, given): (Vec<&str>, Vec<&str>) =
            (host_pattern.split('.').collect(), host.split('.').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(&given).all(|(wanted, given)| WildMatch::new(wanted).matches(given))
    }

    /// The one registry that is meant, where it is one.
    pub fn registry(&self) -> Option<Registry> {
        self.text.parse().ok()
    }

    /// The domain that all of its registries are under: `amazonaws.com`. `None` where there is none that one owner
    /// has.
    pub fn domain(&self) -> Option<&str> {
        let host = self.host();
        let after = host.rfind('*').map(|star| &host[star..])?;
        let domain = after.split_once('.')?.1;
        domain.contains('.').then_some(domain)
    }

    fn host(&self) -> &str {
        self.text.split_once(':').map_or(&*self.text, |(host, _)| host)
    }
}

impl FromStr for RegistryPattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        check(text, |c| c == b'*').map_err(|why| ParseError::new("pattern of registries", text, why))?;
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix(":443").unwrap_or(&text);
        let port = text.split_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Self { text: text.into(), port })
    }
}

impl fmt::Display for RegistryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether any resolver could take it for an address: a last label that is a number, `0x` ones among them (WHATWG URL
/// standard, "ends in a number").
fn is_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|c| c.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// A host name or IPv4 address, with or without a port; `more` are characters that may be in a label beside its own.
fn check(text: &str, more: impl Fn(u8) -> bool) -> Result<(), &'static str> {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    if text.len() > 255 || host.is_empty() {
        return Err("a host name of 1 to 255 characters is needed");
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || more(c))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !host.split('.').all(label) {
        return Err("the host must be labels of letters, digits and '-', parted by '.'");
    }
    match port {
        Some(port)
            if port.is_empty()
                || port.starts_with('0')
                || !port.bytes().all(|c| c.is_ascii_digit())
                || port.parse::<u16>().is_err() =>
        {
            Err("the port must be a number from 1 to 65535")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_a_host_and_perhaps_a_port() {
        for text in ["docker.io", "localhost", "localhost:5000", "127.0.0.1:5000", "my-reg.example"] {
            assert_eq!(text.parse::<Registry>().expect(text).to_string(), text);
        }
        for text in [
            "",
            ":1",
            "a:",
            "a:b",
            "a:99999",
            "a:0443",
            "a:0",
            "-a",
            "a/b",
            "user@host",
            "a..b",
            "http://a",
            "a:1:2",
            "a#b",
            "a%2fb",
            "a_b",
            "[::1]",
            "ghcr.io.",
            "ghcr.io@evil.example",
            "ä.example",
        ] {
            assert!(text.parse::<Registry>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_registry_has_one_name() {
        for (text, name) in [
            ("GHCR.io", "ghcr.io"),
            ("ghcr.io:443", "ghcr.io"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("docker.io", "docker.io"),
            ("localhost:443", "localhost"),
            ("registry:443", "registry:443"),
        ] {
            assert_eq!(text.parse::<Registry>().expect(text).to_string(), name);
        }
        assert_eq!(Registry::docker_hub().api_host(), "registry-1.docker.io");
    }

    #[test]
    fn a_port_has_a_form_that_a_path_can_have() {
        for (name, segment) in [
            ("ghcr.io", "ghcr.io"),
            ("localhost", "localhost"),
            ("registry.example:5000", "registry.example_5000"),
            ("registry:5000", "registry_5000"),
        ] {
            let registry: Registry = name.parse().expect(name);
            assert_eq!(registry.path_segment(), segment);
            assert_eq!(Registry::from_path_segment(segment), Some(registry));
            assert!(format!("{segment}/a").parse::<crate::Repository>().is_ok(), "{segment}");
        }
        for text in ["library", "a_b", "_5000", "a__5000", "a_99999", "..", "", "a.b_c", "a_1_2"] {
            assert_eq!(Registry::from_path_segment(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_matches_names_and_no_address() {
        let matches = |pattern: &str, name: &str| {
            pattern.parse::<RegistryPattern>().expect(pattern).matches(&name.parse().expect(name))
        };
        let ecr = "*.dkr.ecr.*.amazonaws.com";
        assert!(matches(ecr, "1234.dkr.ecr.eu-west-1.amazonaws.com"));
        assert!(matches("*-docker.pkg.dev", "us-docker.pkg.dev"));
        assert!(matches("registry-1.docker.io", "docker.io") && matches("127.0.0.1:5000", "127.0.0.1:5000"));
        assert!(matches("*", "anything.example") && matches("*:5000", "a.example:5000"));
        for (pattern, name) in [
            (ecr, "1234.dkr.ecr.eu-west-1.amazonaws.com.evil.example"),
            (ecr, "1234.dkr.ecr.a.b.amazonaws.com"),
            (ecr, "1234.dkr.ecr.eu-west-1.amazonaws.com:8443"),
            ("*-docker.pkg.dev", "a.us-docker.pkg.dev"),
            ("*", "localhost"),
            ("*", "127.0.0.1"),
            ("*", "10.1"),
            ("*", "0x7f.0x1"),
            ("*", "a.example:22"),
            ("*.*.*.*", "169.254.169.254"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for text in ["", "*/a", "http://*", "a b", "*..b", "*@b"] {
            assert!(text.parse::<RegistryPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_tells_the_domain_that_it_is_under() {
        for (pattern, domain) in [
            ("*.dkr.ecr.*.amazonaws.com", Some("amazonaws.com")),
            ("*-docker.pkg.dev", Some("pkg.dev")),
            ("*.azurecr.io:5000", Some("azurecr.io")),
            ("*", None),
            ("*.io", None),
            ("registry.*", None),
        ] {
            assert_eq!(pattern.parse::<RegistryPattern>().expect(pattern).domain(), domain, "{pattern}");
        }
    }
}
