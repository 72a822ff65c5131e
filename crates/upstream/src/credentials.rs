//! Logins: what the operator gave, or what `docker login` left in Docker's configuration file or its helpers.

use std::fmt;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use url::Url;

/// How long a credential helper may take; it may ask a key ring.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

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
#[derive(Debug, Clone)]
pub(crate) enum Login {
    Anonymous,
    Password(Credentials),
    /// An OAuth 2 refresh token, as `docker login` gets from some registries.
    Identity(Secret),
    /// A token that the registry itself takes.
    Token(Secret),
}

/// Asks Docker's configuration file, and its helpers, for a registry's login. None is no error; one that cannot be
/// had is told once, and then the registry is asked without.
pub(crate) async fn from_docker(url: &Url) -> Login {
    let key = match url.host_str() {
        Some("registry-1.docker.io") => "https://index.docker.io/v1/".to_owned(),
        Some(host) => url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        None => return Login::Anonymous,
    };
    let server = key.clone();
    let asked = tokio::task::spawn_blocking(move || docker_credential::get_credential(&server));
    let failed = match tokio::time::timeout(HELPER_TIMEOUT, asked).await {
        Ok(Ok(Ok(DockerCredential::UsernamePassword(username, password)))) => {
            // Docker's helpers give a refresh token under this name.
            let password = Secret::new(password);
            return match username.as_str() {
                "<token>" => Login::Identity(password),
                _ => Login::Password(Credentials { username, password }),
            };
        }
        Ok(Ok(Ok(DockerCredential::IdentityToken(token)))) => return Login::Identity(Secret::new(token)),
        Ok(Ok(Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ))) => return Login::Anonymous,
        // A helper's way to say that it has none.
        Ok(Ok(Err(CredentialRetrievalError::HelperFailure { stdout, .. })))
            if stdout.contains("credentials not found") =>
        {
            return Login::Anonymous;
        }
        // Not the error's own text: a helper may have printed the secret.
        Ok(Ok(Err(_))) => "the entry or its helper is broken",
        Ok(Err(_)) => "reading it failed",
        Err(_) => "its helper took too long",
    };
    tracing::warn!(target: "hubcap::upstream", registry = %key,
        "the login in Docker's configuration cannot be used ({failed}); going on without");
    Login::Anonymous
}
