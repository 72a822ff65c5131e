//! What the origin's hosts answer when nothing is odd: a registry by the specification, tokens, and the blobs' own host.

use std::collections::HashMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header;
use serde_json::json;

use super::asked::{Asked, Role};
use super::reply::Reply;
use crate::support::image::sha256;

/// What the origin has, and what it wants.
#[derive(Default)]
pub(super) struct Content {
    pub(super) blobs: HashMap<String, Bytes>,
    /// By repository and reference: media type and bytes.
    pub(super) manifests: HashMap<(String, String), (String, Bytes)>,
    pub(super) referrers: HashMap<String, serde_json::Value>,
    /// The login that the token service wants; `Some(None)` gives tokens to everybody.
    pub(super) tokens: Option<Option<String>>,
    pub(super) tokens_given: u32,
    /// Tokens up to this number are refused.
    pub(super) tokens_revoked: u32,
    pub(super) token_life: u64,
    pub(super) cdn: bool,
    /// By repository: who may have it.
    pub(super) private: HashMap<String, Private>,
    /// Tokens that were given to a login.
    pub(super) with_login: HashMap<u32, String>,
}

pub(super) struct Private {
    /// `user:password` for the token service.
    pub(super) login: String,
    /// What a client may send by itself.
    pub(super) authorization: String,
}

/// Where the hosts that are not the registry's listen.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) token: SocketAddr,
    pub(super) cdn: SocketAddr,
}

impl Content {
    pub(super) fn answer(&mut self, asked: &Asked, addresses: Addresses) -> Reply {
        let authorization = asked.text(header::AUTHORIZATION);
        match asked.host {
            Role::Token => self.token(authorization),
            Role::Cdn if authorization.is_some() => Reply::status(400),
            Role::Registry if !self.allows(asked.path(), authorization) => {
                let mut challenge =
                    format!("Bearer realm=\"http://{}/token\",service=\"origin\"", addresses.token);
                if let [_, _, repository] = parts(asked.path())[..] {
                    challenge += &format!(",scope=\"repository:{repository}:pull\"");
                }
                Reply::status(401).with("www-authenticate", &challenge)
            }
            Role::Registry | Role::Cdn => self.content(asked, addresses),
        }
    }

    fn token(&mut self, authorization: Option<&str>) -> Reply {
        if let Some(Some(login)) = &self.tokens {
            let expected = format!("Basic {}", STANDARD.encode(login));
            if authorization != Some(expected.as_str()) {
                return Reply::status(401);
            }
        }
        self.tokens_given += 1;
        let number = self.tokens_given;
        let login = authorization.and_then(|value| value.strip_prefix("Basic "));
        if let Some(login) = login.and_then(|text| STANDARD.decode(text).ok()) {
            self.with_login.insert(number, String::from_utf8(login).expect("text"));
        }
        let answer = json!({"token": format!("token-{number}"), "expires_in": self.token_life});
        Reply::new(answer.to_string())
    }

    fn allows(&self, path: &str, authorization: Option<&str>) -> bool {
        let number = authorization.and_then(|value| value.strip_prefix("Bearer token-")?.parse::<u32>().ok());
        let private =
            self.private.iter().find(|(repository, _)| path.starts_with(&format!("/v2/{repository}/")));
        if let Some((_, private)) = private {
            let login = number.and_then(|number| self.with_login.get(&number));
            return login == Some(&private.login) || authorization == Some(private.authorization.as_str());
        }
        // Whatever a client sends by itself is good for what everybody may have.
        let own = number.is_none() && authorization.is_some();
        self.tokens.is_none() || own || number.is_some_and(|number| number > self.tokens_revoked)
    }

    fn content(&self, asked: &Asked, addresses: Addresses) -> Reply {
        let path = asked.path();
        if path == "/v2/" {
            return Reply::new("{}");
        }
        let [last, kind, repository] = parts(path)[..] else { return Reply::status(404) };
        match kind {
            "manifests" => match self.manifests.get(&(repository.into(), last.into())) {
                None => Reply::status(404),
                Some((media_type, bytes)) => Reply::new(bytes.clone())
                    .with("content-type", media_type)
                    .with("docker-content-digest", &sha256(bytes))
                    .with("ratelimit-limit", "100;w=21600")
                    .with("ratelimit-remaining", "76;w=21600"),
            },
            "blobs" => match self.blobs.get(last) {
                None => Reply::status(404),
                Some(_) if self.cdn && asked.host == Role::Registry => {
                    // By another name: clients send their Authorization on to the same one, whatever its port.
                    let port = addresses.cdn.port();
                    let location = format!("http://localhost:{port}{path}?X-Amz-Signature=s3cret-signature");
                    Reply::status(307).with("location", &location)
                }
                Some(bytes) => Reply::new(bytes.clone()).ranged(asked.text(header::RANGE)),
            },
            "tags" => self.tags(repository, asked),
            "referrers" => match self.referrers.get(last) {
                None => Reply::status(404),
                Some(index) => Reply::new(index.to_string())
                    .with("content-type", "application/vnd.oci.image.index.v1+json"),
            },
            _ => Reply::status(404),
        }
    }

    pub(super) fn tags_of(&self, repository: &str) -> Vec<&str> {
        let tags = self.manifests.keys().filter(|(name, tag)| name == repository && !tag.contains(':'));
        let mut tags: Vec<&str> = tags.map(|(_, tag)| tag.as_str()).collect();
        tags.sort_unstable();
        tags
    }

    fn tags(&self, repository: &str, asked: &Asked) -> Reply {
        let mut tags = self.tags_of(repository);
        if tags.is_empty() {
            return Reply::status(404);
        }
        tags.retain(|tag| asked.query("last").is_none_or(|last| *tag > last));
        let n: usize = asked.query("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let more = tags.len() > n;
        tags.truncate(n);
        let reply = Reply::new(json!({"name": repository, "tags": tags}).to_string())
            .with("content-type", "application/json");
        match (more, tags.last()) {
            (true, Some(last)) => {
                reply.with("link", &format!("</v2/{repository}/tags/list?n={n}&last={last}>; rel=\"next\""))
            }
            _ => reply,
        }
    }
}

/// What is asked for, what kind it is of, and the repository.
fn parts(path: &str) -> Vec<&str> {
    path.trim_start_matches("/v2/").rsplitn(3, '/').collect()
}
