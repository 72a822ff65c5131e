//! A token service's answer (distribution's token specification), as they really are.

use std::time::Duration;

use hubcap_oci::json::{self, Object};
use serde_json::value::RawValue;

use crate::credentials::Secret;
use crate::error::Error;

/// How long a token without a usable `expires_in` is good, as the specification says.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// The longest token, in bytes: what fits into one header of any server.
const MAX_TOKEN: usize = 16 << 10;

/// A token, and how long it is good. `issued_at` is not read: whose clock is right is not known.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) token: Secret,
    pub(super) life: Duration,
}

impl Answer {
    /// # Errors
    /// [`Error::Invalid`] for what has no usable token. It shows nothing of the answer.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        // The parser's own message would show the token.
        let answer = Object::read(&text, &["token", "access_token", "expires_in"])
            .ok_or_else(|| Error::invalid("the token service's answer is not the JSON of a token"))?;
        // A name may be there without a token in it, beside one that has it.
        let mut tokens = ["token", "access_token"].iter().filter_map(|name| answer.text(name));
        let token = tokens.find_map(|text| Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
        let Some(token) = token.filter(|token| token.len() <= MAX_TOKEN) else {
            return Err(Error::invalid("the token service gave no usable token"));
        };
        let life = life(answer.value("expires_in"));
        Ok(Self { token: Secret::new(token), life })
    }
}

/// `expires_in`, in seconds: a number, or one as text.
fn life(told: Option<&RawValue>) -> Duration {
    let text = told.map(|told| json::text(told).unwrap_or_else(|| told.get().to_owned()));
    match text.and_then(|text| text.trim().parse::<f64>().ok()) {
        Some(seconds) if seconds > 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE)
        }
        _ => DEFAULT_LIFE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_under_either_name() {
        for answer in [
            r#"{"token":"t"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"token":"","access_token":"t"}"#,
            r#"{"token":null,"access_token":"t"}"#,
            r#"{"token":"t","access_token":""}"#,
            r#"{"token":17,"access_token":"t","more":["\ud800"]}"#,
            r#"{"Token":"t","EXPIRES_IN":300}"#,
            "\u{feff}{\"token\":\"t\"}\r\n",
            r#"{"token":"t\n","issued_at":"yesterday"}"#,
        ] {
            let read = Answer::read(answer.as_bytes()).expect(answer);
            assert_eq!(read.token.expose(), "t", "{answer}");
        }
        for answer in
            ["", "null", "[]", "\"t\"", "{}", r#"{"token":""}"#, r#"{"token":{"token":"t"}}"#, "<html>"]
        {
            assert!(matches!(Answer::read(answer.as_bytes()), Err(Error::Invalid { .. })), "{answer}");
        }
    }

    #[test]
    fn a_life_that_makes_no_sense_is_a_minute() {
        for (told, seconds) in [
            ("300", 300.0),
            ("\"300\"", 300.0),
            ("299.5", 299.5),
            ("3e2", 300.0),
            ("0", 60.0),
            ("-1", 60.0),
            ("null", 60.0),
            ("\"soon\"", 60.0),
            ("\"NaN\"", 60.0),
            ("[]", 60.0),
            ("99999999999999999999999", 86_400.0),
            ("\"inf\"", 86_400.0),
        ] {
            let answer = format!("{{\"token\":\"t\",\"expires_in\":{told}}}");
            let read = Answer::read(answer.as_bytes()).expect("a token");
            assert_eq!(read.life.as_secs_f64(), seconds, "{told}");
        }
        assert_eq!(Answer::read(br#"{"token":"t"}"#).expect("a token").life, DEFAULT_LIFE);
    }
}
