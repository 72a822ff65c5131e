//! Docker's configuration file, as far as it has logins (docker/cli, `cli/config/configfile`).

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use url::Url;

use super::{Login, Secret, helper};

/// The key of Docker Hub's logins.
const HUB: &str = "https://index.docker.io/v1/";

/// Whose login is asked for.
#[derive(Debug)]
pub(super) struct Server {
    /// Its name, as Docker would look it up: [`HUB`], or host and port.
    key: String,
    /// The same for comparisons.
    host: String,
}

impl Server {
    pub(super) fn of(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let name = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = host_of(&name);
        Some(Self { key: if host == HUB_HOST { HUB.into() } else { name }, host })
    }

    /// How well a key of a configuration file fits: less is better. Docker takes any that has the host; which of several
    /// is left to chance there.
    fn distance(&self, key: &str) -> Option<usize> {
        if key == self.key {
            return Some(0);
        }
        (host_of(key) == self.host).then(|| 1 + key.len())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

const HUB_HOST: &str = "docker.io";

/// The host, with its port, of a key such as `https://ghcr.io/v2/`.
fn host_of(key: &str) -> String {
    let (scheme, rest) = key.split_once("://").unwrap_or(("", key));
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let default_port = if scheme.eq_ignore_ascii_case("http") { ":80" } else { ":443" };
    match host.strip_suffix(default_port).unwrap_or(&host) {
        "index.docker.io" | "registry-1.docker.io" => HUB_HOST.into(),
        host => host.into(),
    }
}

/// The logins of a configuration file, and the helpers that have others.
#[derive(Debug, Default)]
pub(super) struct DockerConfig {
    auths: Map<String, Value>,
    helpers: Map<String, Value>,
    store: Option<String>,
}

impl DockerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong, without anything of its content.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = text(bytes)?;
        // As Docker does: only the first document counts, and an empty file is none.
        let mut document = match serde_json::Deserializer::from_str(&text).into_iter::<Value>().next() {
            None => return Ok(Self::default()),
            Some(Ok(Value::Object(document))) => document,
            Some(Ok(_)) => return Err("it is not a JSON object".into()),
            Some(Err(error)) => return Err(format!("it is not JSON: {error}")),
        };
        let mut table = |name: &str| match take(&mut document, name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(table)) => Ok(table),
            Some(_) => Err(format!("its {name} is not a JSON object")),
        };
        let (auths, helpers) = (table("auths")?, table("credHelpers")?);
        let store = take(&mut document, "credsStore").and_then(|name| Some(name.as_str()?.to_owned()));
        Ok(Self { auths, helpers, store: store.filter(|name| !name.is_empty()) })
    }

    /// The login for a server: from the helper that is named for it, or for all, else from the file itself.
    ///
    /// # Errors
    /// Why the only one that there is cannot be used.
    pub(super) async fn login(&self, server: &Server) -> Result<Login, String> {
        let told = match self.helper(server) {
            Some(name) => helper::ask(name, &server.key).await,
            None => Ok(Login::Anonymous),
        };
        match (told, self.entry(server)) {
            (Ok(Login::Anonymous), entry) => entry,
            (Ok(login), _)
            | (Err(_), Ok(login @ (Login::Password(_) | Login::Identity(_) | Login::Token(_)))) => Ok(login),
            (Err(why), _) => Err(why),
        }
    }

    fn helper(&self, server: &Server) -> Option<&str> {
        match best(&self.helpers, server) {
            // An empty name means the file itself.
            Some((_, Value::String(name))) => Some(name.as_str()).filter(|name| !name.is_empty()),
            _ => self.store.as_deref(),
        }
    }

    fn entry(&self, server: &Server) -> Result<Login, String> {
        let Some((key, Value::Object(entry))) = best(&self.auths, server) else {
            return Ok(Login::Anonymous);
        };
        let field = |name: &str| {
            let (_, value) = entry.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            value.as_str().filter(|text| !text.is_empty())
        };
        if let Some(token) = field("registrytoken") {
            return Ok(Login::Token(Secret::new(token)));
        }
        if let Some(token) = field("identitytoken") {
            return Ok(Login::Identity(Secret::new(token)));
        }
        if let Some(auth) = field("auth") {
            let login = decode(auth);
            return login.ok_or_else(|| format!("the auth of {key:?} is not the base64 of user:password"));
        }
        Ok(Login::new(
            field("username").unwrap_or_default(),
            Secret::new(field("password").unwrap_or_default()),
        ))
    }
}

/// A member of an object, by its name in any case, as Go reads them.
fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    object.remove(&key)
}

fn best<'a>(table: &'a Map<String, Value>, server: &Server) -> Option<(&'a String, &'a Value)> {
    let fitting = table.iter().filter_map(|entry| Some((server.distance(entry.0)?, entry)));
    fitting.min_by_key(|(distance, _)| *distance).map(|(_, entry)| entry)
}

/// The text of a file that an editor or a shell of Windows may have written.
fn text(bytes: &[u8]) -> Result<String, String> {
    let wide = |to: fn([u8; 2]) -> u16, rest: &[u8]| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| to([pair[0], pair[1]])).collect();
        String::from_utf16(&units).map_err(|_| "it is not UTF-16, which it begins as".to_owned())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            let text = str::from_utf8(rest).map_err(|_| "it is not UTF-8")?;
            Ok(text.to_owned())
        }
    }
}

/// `user:password` in base64, as people and their tools write it: wrapped, unpadded, or for URLs.
fn decode(auth: &str) -> Option<Login> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text: String = auth.chars().filter(|c| !c.is_whitespace()).collect();
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let bytes = GeneralPurpose::new(&alphabet, config).decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':').filter(|(username, _)| !username.is_empty())?;
    Some(Login::new(username, Secret::new(password.trim_end_matches('\0'))))
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::*;

    fn entry(config: &str, url: &str) -> Result<Login, String> {
        let server = Server::of(&url.parse().expect("a URL")).expect("a server");
        DockerConfig::parse(config.as_bytes()).and_then(|config| config.entry(&server))
    }

    fn password(username: &str, password: &str) -> Login {
        let (username, password) = (username.into(), Secret::new(password));
        Login::Password(Credentials { username, password })
    }

    #[test]
    fn a_key_may_have_a_scheme_and_a_path() {
        for (key, url) in [
            ("https://index.docker.io/v1/", "https://registry-1.docker.io"),
            ("docker.io", "https://registry-1.docker.io"),
            ("index.docker.io", "https://registry-1.docker.io"),
            ("https://registry-1.docker.io/v2/", "https://registry-1.docker.io"),
            ("ghcr.io", "https://ghcr.io"),
            ("https://ghcr.io", "https://ghcr.io"),
            ("https://ghcr.io/", "https://ghcr.io"),
            ("https://ghcr.io/v2/", "https://ghcr.io"),
            ("GHCR.io", "https://ghcr.io"),
            ("ghcr.io:443", "https://ghcr.io"),
            ("http://localhost:5000", "http://localhost:5000"),
            ("localhost:5000/path/", "http://localhost:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
        ] {
            let config = format!(r#"{{"auths":{{"{key}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#);
            assert_eq!(entry(&config, url), Ok(password("me", "hunter2")), "{key}");
        }
        for (key, url) in [
            ("ghcr.io.evil", "https://ghcr.io"),
            ("localhost:5000", "http://localhost:5001"),
            ("", "https://ghcr.io"),
        ] {
            let config = format!(r#"{{"auths":{{"{key}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#);
            assert_eq!(entry(&config, url), Ok(Login::Anonymous), "{key}");
        }
        let both = r#"{"auths":{"https://ghcr.io/org/":{"username":"path","password":"x"},
            "https://ghcr.io":{"username":"scheme","password":"x"},"ghcr.io":{"username":"it","password":"x"}}}"#;
        assert_eq!(entry(both, "https://ghcr.io"), Ok(password("it", "x")));
    }

    #[test]
    fn a_login_has_many_forms() {
        for (text, wanted) in [
            (r#""auth":"bWU6\nIGh1bnRl\r\n cjI=\n""#, password("me", " hunter2")),
            (r#""auth":"bWU6aHVudGVyMg""#, password("me", "hunter2")),
            (r#""auth":"bWU6Pz8_Pg""#, password("me", "????>".get(1..).expect("text"))),
            (r#""auth":"bWU6YTpiAAA=""#, password("me", "a:b")),
            (r#""username":"me","password":"hunter2""#, password("me", "hunter2")),
            (r#""Auth":"","UserName":"me","Password":"hunter2","email":null"#, password("me", "hunter2")),
            (r#""auth":"bWU6eA==","identitytoken":"t""#, Login::Identity(Secret::new("t"))),
            (r#""auth":"bWU6eA==","identitytoken":"""#, password("me", "x")),
            (r#""registrytoken":"t","identitytoken":"u""#, Login::Token(Secret::new("t"))),
            (r#""auth":"""#, Login::Anonymous),
            ("", Login::Anonymous),
        ] {
            let config =
                format!(r#"{{"auths":{{"ghcr.io":{{{text}}},"other":{{"auth":"?"}},"third":null}}}}"#);
            assert_eq!(entry(&config, "https://ghcr.io"), Ok(wanted), "{text}");
        }
        for text in ["bWU", "OmE=", "\u{20ac}", "!"] {
            let config = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{text}"}}}}}}"#);
            let why = entry(&config, "https://ghcr.io").expect_err("not a login");
            assert!(why.contains("ghcr.io") && !why.contains(text), "{why}");
        }
    }

    #[test]
    fn a_helper_of_its_own_comes_before_the_one_for_all() {
        let config = r#"{"credsStore":"desktop","credHelpers":{"https://ghcr.io":"own","quay.io":""}}"#;
        let config = DockerConfig::parse(config.as_bytes()).expect("a config");
        for (url, wanted) in [
            ("https://ghcr.io", Some("own")),
            ("https://quay.io", None),
            ("https://other.io", Some("desktop")),
        ] {
            let server = Server::of(&url.parse().expect("a URL")).expect("a server");
            assert_eq!(config.helper(&server), wanted, "{url}");
        }
    }

    #[test]
    fn what_editors_make_of_a_file_is_read_and_a_broken_one_is_told_without_its_content() {
        let config = r#"{"auths":{"ghcr.io":{"username":"me","password":"x"}}}"#;
        let wide = |to: fn(u16) -> [u8; 2]| config.encode_utf16().flat_map(to).collect::<Vec<u8>>();
        for bytes in [
            [b"\xef\xbb\xbf", config.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &wide(u16::to_le_bytes)].concat(),
            [&b"\xfe\xff"[..], &wide(u16::to_be_bytes)].concat(),
            format!("{config}\r\n\r\nrest").into_bytes(),
        ] {
            let read = DockerConfig::parse(&bytes).expect("a config");
            assert_eq!(read.auths.len(), 1);
        }
        for empty in ["", " \n", "{}", r#"{"auths":null,"credHelpers":null,"credsStore":null}"#] {
            assert_eq!(entry(empty, "https://ghcr.io"), Ok(Login::Anonymous), "{empty}");
        }
        for broken in [
            "{",
            "[]",
            r#"{"auths":["hunter2"]}"#,
            r#"{"auths":{"ghcr.io":{"auth":"hunter2"}"#,
            "\u{1}hunter2",
        ] {
            let why = DockerConfig::parse(broken.as_bytes()).expect_err("broken");
            assert!(!why.is_empty() && !why.contains("hunter2"), "{why}");
        }
        assert!(DockerConfig::parse(b"\xc3\x28").is_err());
    }
}
