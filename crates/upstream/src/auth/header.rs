//! The values of `Authorization` (RFC 9110, section 11.6.2). None of them is shown in a log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;

use crate::credentials::{Credentials, Secret};
use crate::error::Error;

pub(super) fn basic(Credentials { username, password }: &Credentials) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    // Base64 is always a valid header value.
    let mut value =
        HeaderValue::from_str(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(&format!("Bearer {}", token.expose()))
        .ok_or_else(|| Error::invalid("the token has characters that no header can carry"))
}

/// `None` for a text that no header can carry.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
