//! The job's token, and what it says of itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;

use crate::credentials::Secret;

/// In `Permission` of a scope.
const READ: u64 = 1;
const WRITE: u64 = 2;

/// `ACTIONS_RUNTIME_TOKEN`. It is kept in memory only, and shown by nothing.
#[derive(Debug, Clone)]
pub struct Token(Secret);

/// A cache scope that the token names: a ref, and what the job may do with its entries.
#[derive(Deserialize)]
struct Scope {
    #[serde(rename = "Permission")]
    permission: u64,
}

/// The claim `ac`, which is JSON in a string.
#[derive(Deserialize)]
struct Claims {
    ac: String,
}

impl Token {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// Whether some scope may be read. A token that says nothing of scopes may be good for all.
    pub(super) fn reads(&self) -> bool {
        self.permits(READ)
    }

    /// Whether some scope may be written.
    pub(super) fn writes(&self) -> bool {
        self.permits(WRITE)
    }

    /// `Authorization` with it.
    ///
    /// # Errors
    /// When it has characters that no header has.
    pub(super) fn authorization(&self) -> Result<HeaderValue, crate::Error> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0.expose()))
            .map_err(|_| crate::Error::invalid("the job's token is not usable in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn permits(&self, what: u64) -> bool {
        self.scopes().is_none_or(|scopes| scopes.iter().any(|scope| scope.permission & what != 0))
    }

    /// The scopes, where it is a JWT (RFC 7519) that names some. Its signature is the service's to verify.
    fn scopes(&self) -> Option<Vec<Scope>> {
        let claims = self.0.expose().split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        let Claims { ac } = serde_json::from_slice(&claims).ok()?;
        serde_json::from_str(&ac).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(claims: &str) -> (bool, bool) {
        let token = Token::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)));
        (token.reads(), token.writes())
    }

    #[test]
    fn the_scopes_of_a_token_say_what_it_is_for() {
        let read = r#"{\"Scope\":\"refs/heads/main\",\"Permission\":1}"#;
        let write = r#"{\"Scope\":\"refs/pull/7/merge\",\"Permission\":3}"#;
        assert_eq!(permits(&format!(r#"{{"ac":"[{read}]"}}"#)), (true, false));
        assert_eq!(permits(&format!(r#"{{"ac":"[{write},{read}]"}}"#)), (true, true));
        assert_eq!(permits(r#"{"ac":"[]"}"#), (false, false));
    }

    #[test]
    fn a_token_that_names_no_scopes_may_be_good_for_all() {
        for claims in ["{}", r#"{"ac":7}"#, r#"{"ac":"x"}"#, "no JSON"] {
            assert_eq!(permits(claims), (true, true), "{claims}");
        }
        let opaque = Token::new("main");
        assert!(opaque.reads() && opaque.writes());
    }

    #[test]
    fn a_token_is_shown_by_nothing() {
        let token = Token::new("s3cret");
        let header = token.authorization().expect("a header");
        assert!(!format!("{token:?}{header:?}").contains("s3cret"));
        let unusable = Token::new("s3cret\n").authorization().expect_err("refused");
        assert!(!format!("{unusable:?}").contains("s3cret"));
    }
}
