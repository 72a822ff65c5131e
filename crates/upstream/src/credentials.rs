//! Logins: what the operator gave, or what `docker login` left in Docker's configuration file or its helpers.

mod docker;
mod helper;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use url::Url;

use docker::{DockerConfig, Server};

/// Of Docker's configuration file, in bytes.
const MOST: u64 = 16 << 20;

/// A string that no log and no error shows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A login for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or access token.
    pub password: Secret,
}

/// What is known of a registry's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Anonymous,
    Password(Credentials),
    /// An OAuth 2 refresh token, as `docker login` gets from some registries.
    Identity(Secret),
    /// A token that the registry itself takes.
    Token(Secret),
}

impl Login {
    /// A user and a password, as Docker's helpers give them: a refresh token has a name of its own.
    fn new(username: &str, password: Secret) -> Self {
        match username {
            "" => Self::Anonymous,
            "<token>" => Self::Identity(password),
            _ => Self::Password(Credentials { username: username.into(), password }),
        }
    }
}

/// Asks for a registry's login where Docker does: `DOCKER_AUTH_CONFIG`, Docker's configuration file, and the helpers that
/// they name. None is no error; one that cannot be had is told once, and then the registry is asked without.
pub(crate) async fn from_docker(url: &Url) -> Login {
    let Some(server) = Server::of(url) else { return Login::Anonymous };
    for config in [from_variable(), from_file()].into_iter().flatten() {
        match config.login(&server).await {
            Ok(Login::Anonymous) => {}
            Ok(login) => return login,
            Err(why) => tracing::warn!(target: "hubcap::upstream", registry = %server,
                "the login in Docker's configuration cannot be used ({why}); going on without"),
        }
    }
    Login::Anonymous
}

fn from_variable() -> Option<DockerConfig> {
    static TOLD: Once = Once::new();
    let text = std::env::var_os("DOCKER_AUTH_CONFIG").filter(|text| !text.is_empty())?;
    let read = DockerConfig::parse(text.as_encoded_bytes());
    let tell = |why| {
        let tell = || {
            tracing::warn!(target: "hubcap::upstream",
                "DOCKER_AUTH_CONFIG cannot be read, and none of its logins is used: {why}");
        };
        TOLD.call_once(tell);
    };
    read.map_err(tell).ok()
}

fn from_file() -> Option<DockerConfig> {
    static TOLD: Once = Once::new();
    let dir = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = dir.or_else(|| Some(std::env::home_dir()?.join(".docker")))?;
    let path = dir.join("config.json");
    let read = match regular(&path) {
        Ok(bytes) => DockerConfig::parse(&bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    let tell = |why| {
        let tell = || {
            tracing::warn!(target: "hubcap::upstream", path = %path.display(),
                "Docker's configuration file cannot be read, and none of its logins is used: {why}");
        };
        TOLD.call_once(tell);
    };
    read.map_err(tell).ok()
}

/// The bytes of a file, to which links may lead; not of a device, which has no end, or of a pipe, which keeps its reader waiting.
/// A file that is cut here is no JSON any more, and is refused.
fn regular(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
