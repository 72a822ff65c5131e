//! `HUBCAP_LOGIN`: `USER:TOKEN` for Docker Hub, `NAME=USER:TOKEN` for another registry, parted by commas.

use anyhow::bail;
use hubcap_oci::Registry;
use hubcap_upstream::{Credentials, Secret};

/// Reads it. A comma begins a new login only where a registry's name and '=' follow, since tokens may have one.
///
/// # Errors
/// Says which login is none by its number, never by its text.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<(Registry, Credentials)>> {
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
    let read = |(at, part): (usize, &String)| {
        let (registry, login) = named(part).unwrap_or((Registry::docker_hub(), part));
        match login.split_once(':') {
            Some((username, password)) if !username.is_empty() && !password.is_empty() => {
                let (username, password) = (username.to_owned(), Secret::new(password));
                Ok((registry, Credentials { username, password }))
            }
            _ => bail!(
                "HUBCAP_LOGIN: login {} is written USER:TOKEN, for Docker Hub, or NAME=USER:TOKEN, as ghcr.io=me:...",
                at + 1
            ),
        }
    };
    parts.iter().enumerate().map(read).collect()
}

/// `NAME=` and what follows, where it is one: a user's name has no '.'-parted host in front of its ':'.
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

    fn login(registry: &str, username: &str, password: &str) -> (String, String, Secret) {
        (registry.into(), username.into(), Secret::new(password))
    }

    #[test]
    fn a_login_without_a_name_is_docker_hubs() {
        assert_eq!(read("me:dckr_pat_x"), [login("docker.io", "me", "dckr_pat_x")]);
        assert_eq!(read("me:a=b,c:d"), [login("docker.io", "me", "a=b,c:d")]);
        assert_eq!(
            read("ghcr.io=me:t0ken, localhost:5000=you:x,docker.io=us:a,b"),
            [
                login("ghcr.io", "me", "t0ken"),
                login("localhost:5000", "you", "x"),
                login("docker.io", "us", "a,b")
            ]
        );
        assert_eq!(read("me:x,ghcr.io=you:y"), [login("docker.io", "me", "x"), login("ghcr.io", "you", "y")]);
    }

    #[test]
    fn what_is_none_is_told_without_its_text() {
        for text in ["", "hunter2", "me:", ":hunter2", "ghcr.io=hunter2", "me:x,ghcr.io=:hunter2"] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("USER:TOKEN") && !error.contains("hunter2"), "{error}");
        }
    }
}
