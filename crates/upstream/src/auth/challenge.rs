//! `WWW-Authenticate` (RFC 9110, section 11.6.1), from a stranger: what can be made out of it counts.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

/// The longest realm, service and scope, in bytes: each is a part of a URL.
const MAX_TEXT: usize = 4096;
/// Challenges of one answer that count. Registries have one or two, and each may cost requests to a token service.
const MAX_CHALLENGES: usize = 4;

/// What an upstream wants, as far as it can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from the realm.
    Bearer(Bearer),
    /// User and password.
    Basic,
}

/// The parameters of a Bearer challenge (distribution's token specification).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    /// What a token has to be good for.
    pub(crate) scopes: Vec<String>,
    /// The token that was sent is not good for that.
    pub(crate) is_scope_insufficient: bool,
}

/// The first challenges of an answer that came from `url`, each once, in its order.
pub(crate) fn challenges(headers: &HeaderMap, url: &Url) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // Other schemes may have any bytes.
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut told = Schemes(&text).filter_map(|scheme| Challenge::new(&scheme, url)).peekable();
        // A quote without an end, or the like, may have hidden it.
        let is_hidden = told.peek().is_none();
        let hidden = is_hidden.then(|| Challenge::new(&hidden(&text)?, url)).flatten();
        for challenge in told.chain(hidden) {
            if found.len() == MAX_CHALLENGES {
                return found;
            }
            if !found.contains(&challenge) {
                found.push(challenge);
            }
        }
    }
    found
}

impl Challenge {
    fn new(scheme: &Scheme, url: &Url) -> Option<Self> {
        if scheme.name.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.name.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let is_long = |name| scheme.get(name).is_some_and(|text| text.len() > MAX_TEXT);
        if is_long("realm") || is_long("service") {
            return None;
        }
        let realm = realm(url, scheme.get("realm")?)?;
        // Without one, a pull's own is asked for.
        let scope = scheme.get("scope").filter(|_| !is_long("scope")).unwrap_or_default();
        Some(Self::Bearer(Bearer {
            realm,
            service: scheme.get("service").map(Into::into),
            scopes: scope.split_ascii_whitespace().map(Into::into).collect(),
            is_scope_insufficient: scheme.get("error") == Some("insufficient_scope"),
        }))
    }
}

/// A realm as a URL: some are paths of the registry, some have no scheme.
fn realm(url: &Url, text: &str) -> Option<Url> {
    let text = text.trim();
    let first = text.split(['/', '?']).next().unwrap_or_default();
    let looks_like_a_host = first.contains(['.', ':']) || first == "localhost";
    let absolute = if looks_like_a_host && !text.contains("://") {
        format!("{}://{text}", url.scheme())
    } else {
        text.to_owned()
    };
    let mut realm = url.join(&absolute).ok().filter(|_| !text.is_empty())?;
    realm.set_fragment(None);
    // Nobody is shown a login that a URL has in it, and no log has it.
    realm.set_username("").ok()?;
    realm.set_password(None).ok()?;
    (matches!(realm.scheme(), "http" | "https") && realm.host().is_some()).then_some(realm)
}

/// A scheme with its parameters.
struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(value)
    }
}

/// The schemes of a value, each up to the next.
struct Schemes<'a>(&'a str);

impl Iterator for Schemes<'_> {
    type Item = Scheme;

    fn next(&mut self) -> Option<Scheme> {
        let (name, rest) = loop {
            let (name, rest) = token(skip(self.0));
            if !name.is_empty() {
                break (name, rest);
            }
            // Something that begins nothing is passed over.
            let mut left = skip(self.0).chars();
            left.next()?;
            self.0 = left.as_str();
        };
        let mut scheme = Scheme { name: name.into(), parameters: Vec::new() };
        self.0 = token68(rest).unwrap_or(rest);
        while let Some((key, value, rest)) = parameter(skip(self.0)) {
            scheme.parameters.push((key.into(), value));
            self.0 = rest;
        }
        Some(scheme)
    }
}

/// A Bearer scheme in the middle of something else.
fn hidden(text: &str) -> Option<Scheme> {
    let lower = text.to_ascii_lowercase();
    let found = lower.match_indices("bearer ").filter(|(at, _)| {
        // Not the end of a longer word.
        !lower[..*at].ends_with(|c: char| c.is_ascii_alphanumeric())
    });
    // Each is read up to the end.
    found
        .take(MAX_CHALLENGES)
        .find_map(|(at, _)| Schemes(&text[at..]).next().filter(|scheme| scheme.get("realm").is_some()))
}

fn skip(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', ',', ';'])
}

/// A token (RFC 9110, section 5.6.2), and what follows.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// What follows a token68 (RFC 9110, section 11.2), such as Negotiate has.
fn token68(text: &str) -> Option<&str> {
    // A name alone is followed by none, or each part of a long path would be read up to its end.
    let text = text.strip_prefix([' ', '\t'])?.trim_start_matches([' ', '\t']);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let rest = text.trim_start_matches(is_part).trim_start_matches('=');
    let is_whole = rest.len() < text.len() && matches!(rest.trim_start().chars().next(), None | Some(','));
    is_whole.then_some(rest)
}

/// `key="value"` or `key=value`, and what follows.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = token(text);
    let rest = rest.trim_start().strip_prefix('=').filter(|_| !key.is_empty())?.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ' ', '\t', ';']).unwrap_or(rest.len());
        return Some((key, rest[..end].into(), &rest[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    Some((key, value, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Vec<Challenge> {
        let values = values.iter().map(|value| HeaderValue::from_bytes(value).expect("a value"));
        let headers = values.map(|value| (WWW_AUTHENTICATE, value)).collect();
        challenges(&headers, &"https://r.example/v2/a/manifests/1".parse().expect("a URL"))
    }

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.parse().expect("a URL"),
            service: service.map(Into::into),
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
            is_scope_insufficient: false,
        })
    }

    #[test]
    fn the_challenges_of_real_registries_are_understood() {
        let hub = br#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull""#;
        let wanted = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            &["repository:library/x:pull"],
        );
        assert_eq!(read(&[hub]), [wanted]);
        let spaced = br#"bearer  realm = "https://a.example/t?x=1,2" , service=plain,scope="repository:a:pull,push registry:catalog:*""#;
        let scopes = ["repository:a:pull,push", "registry:catalog:*"];
        assert_eq!(read(&[spaced]), [bearer("https://a.example/t?x=1,2", Some("plain"), &scopes)]);
        assert_eq!(read(&[br#"Basic realm="Registry""#]), [Challenge::Basic]);
        let escaped = br#"Bearer realm="https://a.example/t",service="a\"b""#;
        assert_eq!(read(&[escaped]), [bearer("https://a.example/t", Some("a\"b"), &[])]);
        let insufficient = br#"Bearer realm="https://a.example/t",error="insufficient_scope""#;
        assert!(
            matches!(&read(&[insufficient])[..], [Challenge::Bearer(bearer)] if bearer.is_scope_insufficient)
        );
    }

    #[test]
    fn what_can_be_met_is_found_among_what_cannot() {
        let token = bearer("https://a.example/t", Some("s"), &[]);
        let cases: &[&[&[u8]]] = &[
            &[br#"Negotiate abc==, BEARER REALM="https://a.example/t",Service="s""#],
            &[br#"Negotiate, Bearer realm="https://a.example/t", service="s""#],
            &[br#"NTLM"#, br#"Bearer realm="https://a.example/t",service="s""#],
            &[br#"Bearer realm="https://a.example/t" service="s""#],
            &[br#"Bearer realm="https://a.example/t";service="s""#],
            &[br#", ,Bearer realm="https://a.example/t",,service="s","#],
            &[br#"Digest realm="x, nonce="y", Bearer realm="https://a.example/t",service="s""#],
            &[b"Digest realm=\"\xff\xfe\", nonce=\"abc\", Bearer realm=\"https://a.example/t\",service=\"s\""],
            &[br#"Digest realm="a, bearer b", Bearer realm="https://a.example/t",service="s""#],
            &[b"\xe4 \"\", Bearer realm=\"https://a.example/t\",service=\"s\""],
            &[br#"Bearer realm="https://a.example/t",service="s"#],
        ];
        for &values in cases {
            let shown: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value)).collect();
            assert_eq!(read(values), std::slice::from_ref(&token), "{shown:?}");
        }
        let both = br#"Basic realm="x", Bearer realm="https://a.example/t",service="s""#;
        assert_eq!(read(&[both]), [Challenge::Basic, token.clone()]);
        let two = [&br#"Bearer realm="https://a.example/t",service="s""#[..], br#"Basic realm="x""#];
        assert_eq!(read(&two), [token, Challenge::Basic]);
    }

    #[test]
    fn a_realm_may_be_a_path_or_lack_its_scheme() {
        for (realm, wanted) in [
            ("/token", "https://r.example/token"),
            ("//auth.example/token?a=b", "https://auth.example/token?a=b"),
            ("auth.example/token", "https://auth.example/token"),
            ("localhost:5001/token", "https://localhost:5001/token"),
            ("token", "https://r.example/v2/a/manifests/token"),
            ("http://auth.example/token#part", "http://auth.example/token"),
        ] {
            let told = format!("Bearer realm=\"{realm}\"");
            assert_eq!(read(&[told.as_bytes()]), [bearer(wanted, None, &[])], "{realm}");
        }
    }

    #[test]
    fn of_many_challenges_the_first_few_count_and_each_once() {
        let told = |realm: usize| format!("Bearer realm=\"https://a.example/{realm}\"");
        let wanted = |realm: usize| bearer(&format!("https://a.example/{realm}"), None, &[]);
        let many = [0, 0, 1].into_iter().chain(1..1500).map(told).collect::<Vec<_>>().join(", ");
        assert_eq!(read(&[many.as_bytes()]), [0, 1, 2, 3].map(wanted));
        let (basic, first) = (&b"Basic realm=\"x\""[..], told(0));
        let values = [basic, basic, first.as_bytes(), many.as_bytes()];
        assert_eq!(read(&values), [Challenge::Basic, wanted(0), wanted(1), wanted(2)]);
    }

    #[test]
    fn a_challenge_with_a_text_too_long_for_a_url_does_not_count() {
        let long = "s".repeat(MAX_TEXT + 1);
        let good = "Bearer realm=\"https://a.example/t\",service=\"s\"";
        let wanted = bearer("https://a.example/t", Some("s"), &[]);
        for told in [
            format!("Bearer realm=\"https://a.example/{long}\", {good}"),
            format!("Bearer realm=\"https://a.example/t\",service=\"{long}\", {good}"),
            format!("{good},scope=\"{long}\""),
        ] {
            assert_eq!(read(&[told.as_bytes()]), std::slice::from_ref(&wanted));
        }
    }

    #[test]
    fn the_longest_headers_are_read_at_once() {
        let began = std::time::Instant::now();
        let paths = format!("{}\"", "a/".repeat(200_000));
        for text in
            ["bearer b= ".repeat(40_000), paths, "bearer realm=\"".repeat(30_000), "a b ".repeat(100_000)]
        {
            let _ = read(&[text.as_bytes()]);
        }
        assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
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
            "Forbearer realm=\"https://a.example\"",
        ] {
            assert_eq!(read(&[value.as_bytes()]), [], "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_realm_is_http(text: Vec<u8>, realm in "[ -~]*") {
            for value in [text, format!("Bearer realm=\"{realm}\",service=\"s\"").into_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
                let headers = [(WWW_AUTHENTICATE, value)].into_iter().collect();
                for challenge in challenges(&headers, &"https://r.example".parse().expect("a URL")) {
                    if let Challenge::Bearer(bearer) = challenge {
                        assert!(matches!(bearer.realm.scheme(), "http" | "https"));
                    }
                }
            }
        }
    }
}
