//! `WWW-Authenticate` (RFC 9110 section 11.6.1), from a stranger.

use url::Url;

/// What an upstream wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from the realm.
    Bearer { realm: Url, service: Option<String> },
    /// User and password.
    Basic,
}

impl Challenge {
    /// Reads the first challenge that can be met. The upstream's own `scope` is not read: hubcap knows what it
    /// asks for, and asks for no more.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim_start().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            // Another scheme before the one we know, in one header.
            let next = value.to_ascii_lowercase().find(", bearer ")?;
            return Self::parse(&value[next + 2..]);
        }
        let mut realm = None;
        let mut service = None;
        for (key, text) in Parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = realm.or(Some(text)),
                "service" => service = service.or(Some(text)),
                _ => {}
            }
        }
        let realm = Url::parse(&realm?).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        Some(Self::Bearer { realm, service })
    }
}

/// `key="value", key=value`, until something else comes.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let (key, rest) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c == ',') {
            return None;
        }
        let rest = rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            self.0 = &rest[end..];
            return Some((key.into(), rest[..end].into()));
        };
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Some((key.into(), text));
                }
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.parse().expect("a URL"), service: service.map(Into::into) })
    }

    #[test]
    fn the_challenges_of_real_registries_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull""#;
        assert_eq!(Challenge::parse(hub), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        let spaced =
            r#"bearer  realm = "https://a.example/t?x=1,2" , service=plain, error="insufficient_scope""#;
        assert_eq!(Challenge::parse(spaced), bearer("https://a.example/t?x=1,2", Some("plain")));
        assert_eq!(Challenge::parse(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        let several = r#"Negotiate abc, Bearer realm="https://a.example/t""#;
        assert_eq!(Challenge::parse(several), bearer("https://a.example/t", None));
        let escaped = r#"Bearer realm="https://a.example/t",service="a\"b""#;
        assert_eq!(Challenge::parse(escaped), bearer("https://a.example/t", Some("a\"b")));
    }

    #[test]
    fn what_cannot_be_met_is_none() {
        for value in [
            "",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"",
            "Bearer realm=\"file:///etc/passwd\"",
            "Digest realm=\"x\"",
            "Bearer service=\"x\"",
        ] {
            assert_eq!(Challenge::parse(value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_realm_is_http(text: String, realm in "[ -~]*") {
            for value in [text, format!("Bearer realm=\"{realm}\",service=\"s\"")] {
                if let Some(Challenge::Bearer { realm, .. }) = Challenge::parse(&value) {
                    assert!(matches!(realm.scheme(), "http" | "https"));
                }
            }
        }
    }
}
