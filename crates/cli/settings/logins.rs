//! `HUBCAP_LOGIN`: `USER:TOKEN` for Docker Hub, `NAME=USER:TOKEN` for another registry, separated by commas.

use anyhow::Context as _;
use hubcap_oci::Registry;
use hubcap_upstream::{Credentials, Secret};

/// A registry, and the login that it is asked with.
pub(crate) type Login = (Registry, Credentials);

/// Reads the logins. A comma begins a new login only where a registry's name and '=' follow, since tokens may have one.
///
/// # Errors
/// Names the login that cannot be read by its number, never by its text.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Login>> {
    let mut parts: Vec<String> = Vec::new();
    for piece in text.split(',') {
        match parts.last_mut() {
            Some(last) if named(piece.trim_start()).is_none() => {
                last.push(',');
                last.push_str(piece);
            }
            _ => parts.push(piece.trim_start().to_owned()),
        }
    }
    let logins = parts.iter().enumerate().map(|(at, part)| {
        login(part).with_context(|| {
            format!(
                "HUBCAP_LOGIN: login {} is written USER:TOKEN, for Docker Hub, or NAME=USER:TOKEN, as ghcr.io=me:...",
                at + 1
            )
        })
    });
    logins.collect()
}

fn login(text: &str) -> Option<Login> {
    let (registry, login) = named(text).unwrap_or((Registry::docker_hub(), text));
    let (username, password) =
        login.split_once(':').filter(|(user, token)| !user.is_empty() && !token.is_empty())?;
    Some((registry, Credentials { username: username.to_owned(), password: Secret::new(password) }))
}

/// The registry of `NAME=USER:TOKEN`, and what follows. A user's name has no host with a '.' before its ':'.
fn named(text: &str) -> Option<(Registry, &str)> {
    let (name, login) = text.split_once('=')?;
    let (host, _) = name.split_once(':').unwrap_or((name, ""));
    let registry: Registry = name.parse().ok()?;
    let is_host = host.contains('.') || host == "localhost" || name == host;
    (is_host && login.contains(':')).then_some((registry, login))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, Secret)> {
        let logins = parse(text).expect(text).into_iter();
        logins.map(|(registry, login)| (registry.to_string(), login.username, login.password)).collect()
    }

    fn expected(registry: &str, username: &str, password: &str) -> (String, String, Secret) {
        (registry.into(), username.into(), Secret::new(password))
    }

    #[test]
    fn a_login_without_a_name_is_docker_hubs() {
        assert_eq!(read("me:dckr_pat_x"), [expected("docker.io", "me", "dckr_pat_x")]);
        assert_eq!(read("me:a=b,c:d"), [expected("docker.io", "me", "a=b,c:d")]);
        assert_eq!(
            read("ghcr.io=me:t0ken, localhost:5000=you:x,docker.io=us:a,b"),
            [
                expected("ghcr.io", "me", "t0ken"),
                expected("localhost:5000", "you", "x"),
                expected("docker.io", "us", "a,b")
            ]
        );
        assert_eq!(
            read("me:x,ghcr.io=you:y"),
            [expected("docker.io", "me", "x"), expected("ghcr.io", "you", "y")]
        );
    }

    #[test]
    fn what_is_none_is_told_without_its_text() {
        for text in ["", "hunter2", "me:", ":hunter2", "ghcr.io=hunter2", "me:x,ghcr.io=:hunter2"] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("USER:TOKEN") && !error.contains("hunter2"), "{error}");
        }
    }
}
